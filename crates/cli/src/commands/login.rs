//! `keyferry login`: signs in and keeps the token in the configuration file.

use keyferry_api::sessions::{CreateSession, CurrentUser};
use keyferry_domain::secret::SecretString;

use crate::config::Config;
use crate::context::Context;
use crate::error::CliError;
use crate::prompts;
use crate::secret_source::SecretSource;

/// Sign in to a server, and remember it
///
/// With a person at the terminal, e-mail address and password are asked for. The session's token
/// is kept in the configuration file, which only you can read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry login --server https://keyferry.example.com
  keyferry login --email jane@example.com --password-from @password.txt
  keyferry login --token-from env:CI_KEYFERRY_TOKEN")]
pub(crate) struct Args {
    /// E-mail address
    #[arg(long)]
    email: Option<String>,
    /// Where the password is: `-`, `@PATH` or `env:NAME`
    #[arg(long, value_name = "SOURCE")]
    password_from: Option<String>,
    /// Where an API token is, to use it in place of e-mail address and password
    #[arg(long, value_name = "SOURCE", conflicts_with_all = ["email", "password_from"])]
    token_from: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let server = context.server()?;
    let (token, user) = match &args.token_from {
        Some(source) => {
            let source = SecretSource::parse("--token-from", source)?;
            let token = context.secrets().text("--token-from", &source, false)?;
            let client = context.client_of(&server, Some(token.clone()))?;
            (token, client.get_current_user().await?)
        }
        None => sign_in(context, args).await?,
    };
    remember(context, server, token, &user)
}

async fn sign_in(context: &Context, args: Args) -> Result<(SecretString, CurrentUser), CliError> {
    let client = context.client_without_token()?;
    let email = context.require(args.email, "--email", || prompts::text("E-mail address", ""))?;
    let password =
        ask_password(context, args.password_from.as_deref(), || prompts::secret("Password:", ""))?;
    let body = CreateSession { email, password: password.into() };
    let created = {
        let _progress = context.printer.progress("signing in");
        client.create_session(&body).await?
    };
    Ok((created.token.into_secret(), created.user))
}

/// Returns a password from its source, or asks for it.
pub(crate) fn ask_password(
    context: &Context,
    source: Option<&str>,
    ask: impl FnOnce() -> Result<SecretString, CliError>,
) -> Result<SecretString, CliError> {
    match source {
        Some(source) => {
            let source = SecretSource::parse("--password-from", source)?;
            context.secrets().text("--password-from", &source, false)
        }
        None if context.is_interactive() => ask(),
        None => Err(CliError::invalid("--password-from is missing")
            .hint("without a terminal nothing is asked; use `@PATH`, `-` or `env:NAME`")),
    }
}

/// Keeps server, organization and token for the next commands.
pub(crate) fn remember(
    context: &Context,
    server: String,
    token: SecretString,
    user: &CurrentUser,
) -> Result<(), CliError> {
    let before = context.config().ok();
    let organization = match user.memberships.as_slice() {
        [only] => Some(only.organization_id.to_string()),
        several => before.and_then(|config| config.organization.clone()).filter(|known| {
            several
                .iter()
                .any(|one| one.organization_id.as_str() == known || one.organization_name == *known)
        }),
    };
    let config = Config {
        server: Some(server),
        organization,
        ca_file: context.ca_file()?,
        token: Some(token),
    };
    let path = context.environment.config_path()?;
    config.save(&path)?;
    context.printer.talk(&format!(
        "logged in as {} <{}>; the token is in {}",
        user.name,
        user.email,
        path.display()
    ))?;
    if context.printer.is_json() { context.printer.json(user) } else { Ok(()) }
}
