//! `keyferry token revoke`.

use keyferry_domain::id::TokenId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// Revoke an API token; it stops working at once
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The token's id, `tok_…`; see `keyferry token list`
    #[arg(value_parser = parse::<TokenId>)]
    token: TokenId,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    organization.client.delete_token(&organization.id, &args.token).await?;
    context.printer.talk(&format!("{} does not work any more", args.token))
}
