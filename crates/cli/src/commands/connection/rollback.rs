//! `keyferry connection rollback`.

use keyferry_api::connections::VersionSeen;
use keyferry_domain::connection::ConnectionId;

use super::reconfigure::show;
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// Bring back the credential before the last reconfigure, while the overlap lasts
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let (client, id) = (&organization.client, &organization.id);
    let version = client.get_connection(id, &args.connection).await?.version;
    let done = client.roll_back_connection(id, &args.connection, &VersionSeen { version }).await?;
    show(context, &done)
}
