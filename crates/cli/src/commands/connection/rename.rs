//! `keyferry connection rename`.

use keyferry_api::connections::UpdateConnection;
use keyferry_domain::connection::ConnectionId;

use super::view;
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// Rename a connection; its ID stays, so no pipeline notices
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
    /// New name, 1 to 100 characters
    name: String,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let (client, id) = (&organization.client, &organization.id);
    let version = client.get_connection(id, &args.connection).await?.version;
    let body =
        UpdateConnection { name: Some(args.name), scope: None, users: None, groups: None, version };
    let updated = client.update_connection(id, &args.connection, &body).await?;
    view::show(context, &updated)
}
