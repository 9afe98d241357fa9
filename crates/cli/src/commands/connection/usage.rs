//! `keyferry connection usage`.

use keyferry_domain::connection::ConnectionId;

use crate::commands::lease::list::{HEADER, row};
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// Show what a connection touches: pipelines that are bound to it, and leases that are alive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let usage =
        organization.client.get_connection_usage(&organization.id, &args.connection).await?;
    if context.printer.is_json() {
        return context.printer.json(&usage);
    }
    let header = ["PIPELINE", "PLACE", "STATE"];
    context.printer.list(&usage.bindings, &header, "no pipeline is bound to it", |one| {
        vec![one.pipeline_name.clone(), one.place.clone(), one.state.clone()]
    })?;
    context.printer.data("")?;
    context.printer.list(&usage.live_leases, &HEADER, "no lease is alive", row)
}
