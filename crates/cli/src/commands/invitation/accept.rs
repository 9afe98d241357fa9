//! `keyferry invitation accept`: an invited person chooses a password, or gives that of the account
//! that they have.

use keyferry_api::sessions::AcceptInvitation;

use crate::commands::login::{ask_password, remember};
use crate::commands::setup::{read_link, take_apart};
use crate::context::Context;
use crate::error::CliError;
use crate::prompts;

/// Accept an invitation to an organization
///
/// Choose a password; if you have an account on this server already, give its password. The
/// invitation's link or token is a secret until it is used, so it is asked for, or read from
/// `--link-from`. Afterwards you are logged in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry invitation accept --server https://keyferry.example.com
  keyferry invitation accept --link-from @invitation --password-from env:PASSWORD")]
pub(crate) struct Args {
    /// Where the link, or the token in it, is: `-`, `@PATH` or `env:NAME`
    #[arg(long, value_name = "SOURCE")]
    link_from: Option<String>,
    /// Where the password is, a new one or that of your account: `-`, `@PATH` or `env:NAME`
    #[arg(long, value_name = "SOURCE")]
    password_from: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let (server, token) = take_apart(&read_link(context, args.link_from.as_deref())?)?;
    let server = server.map_or_else(|| context.server(), Ok)?;
    let password = ask_password(context, args.password_from.as_deref(), || {
        prompts::new_password(
            "Choose a password; if you have an account on this server already, give its password",
        )
    })?;
    let body = AcceptInvitation { invitation_token: token.into(), password: password.into() };
    let created = context.client_of(&server, None)?.accept_invitation(&body).await?;
    remember(context, server, created.token.into_secret(), &created.user)
}
