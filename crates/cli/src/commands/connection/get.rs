//! `keyferry connection get`.

use keyferry_domain::connection::ConnectionId;

use super::view;
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// Show a connection; its secrets are never shown
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let found = organization.client.get_connection(&organization.id, &args.connection).await?;
    view::show(context, &found)
}
