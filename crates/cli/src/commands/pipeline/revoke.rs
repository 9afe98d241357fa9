//! `keyferry pipeline revoke`.

use keyferry_domain::id::BindingId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// Revoke a pipeline's right to use a connection in one place
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The place's binding, `bind_…`; see `keyferry pipeline get`
    #[arg(value_parser = parse::<BindingId>)]
    binding: BindingId,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    organization.client.revoke_binding(&organization.id, &args.binding).await?;
    context.printer.talk(&format!("{} is revoked", args.binding))
}
