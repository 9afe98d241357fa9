//! `keyferry token create`.

use keyferry_api::tokens::CreateToken;

use crate::context::Context;
use crate::error::CliError;
use crate::printer::moment;

/// Create an API token; it is printed once
///
/// The token works in this organization, with your role. Scripts pass it in `KEYFERRY_TOKEN` or
/// `KEYFERRY_TOKEN_FILE`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry token create nightly-backup --expires-in-days 90 > token
  KEYFERRY_TOKEN_FILE=token keyferry connection list")]
pub(crate) struct Args {
    /// What it is for
    name: String,
    /// Days until it expires, 1 to 366
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    expires_in_days: u32,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let body = CreateToken { name: args.name, expires_in_days: Some(args.expires_in_days) };
    let created = organization.client.create_token(&organization.id, &body).await?;
    if context.printer.is_json() {
        return context.printer.json(&created);
    }
    context.printer.talk(&format!(
        "{} works until {}; it is shown once:",
        created.view.id,
        moment(created.view.expires_at)
    ))?;
    context.printer.data(created.token.secret().expose())
}
