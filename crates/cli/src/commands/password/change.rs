//! `keyferry password change`: one's own password.

use keyferry_api::sessions::ChangePassword;
use keyferry_domain::secret::SecretString;

use crate::context::Context;
use crate::error::CliError;
use crate::prompts;
use crate::secret_source::{SecretReader, SecretSource};

/// Change your password; your other sessions end
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the present password is: `-`, `@PATH` or `env:NAME`
    #[arg(long, value_name = "SOURCE")]
    current_from: Option<String>,
    /// Where the new password is: `-`, `@PATH` or `env:NAME`
    #[arg(long, value_name = "SOURCE")]
    new_from: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let client = context.client()?;
    let mut reader = context.secrets();
    let current = read(context, &mut reader, "--current-from", args.current_from, || {
        prompts::secret("Present password:", "")
    })?;
    let new = read(context, &mut reader, "--new-from", args.new_from, || {
        prompts::new_password("New password")
    })?;
    let body = ChangePassword { current_password: current.into(), new_password: new.into() };
    client.change_password(&body).await?;
    context.printer.talk("the password is changed; your other sessions have ended")
}

fn read(
    context: &Context,
    reader: &mut SecretReader<'_>,
    flag: &str,
    source: Option<String>,
    ask: impl FnOnce() -> Result<SecretString, CliError>,
) -> Result<SecretString, CliError> {
    match source {
        Some(source) => reader.text(flag, &SecretSource::parse(flag, &source)?, false),
        None if context.is_interactive() => ask(),
        None => Err(CliError::invalid(format!("{flag} is missing"))
            .hint("without a terminal nothing is asked; use `@PATH`, `-` or `env:NAME`")),
    }
}
