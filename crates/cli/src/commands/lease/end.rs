//! `keyferry lease end`.

use keyferry_domain::id::LeaseId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// End a lease now: what was minted for it is taken back at the service
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The lease's id, `lease_…`; see `keyferry lease list`
    #[arg(value_parser = parse::<LeaseId>)]
    lease: LeaseId,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    organization.client.end_lease(&organization.id, &args.lease).await?;
    context.printer.talk(&format!("{} is over", args.lease))
}
