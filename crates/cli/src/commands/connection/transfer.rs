//! `keyferry connection transfer`.

use keyferry_api::connections::TransferConnection;
use keyferry_domain::connection::ConnectionId;

use super::view;
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{member, parse};

/// Give a connection and its credential to another member
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry connection transfer team-git --to jane@example.com")]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
    /// The new owner, by id or e-mail address
    #[arg(long, value_name = "USER")]
    to: String,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let user_id = member(&organization, &args.to).await?.user_id;
    let (client, id) = (&organization.client, &organization.id);
    let version = client.get_connection(id, &args.connection).await?.version;
    let body = TransferConnection { user_id, version };
    let updated = client.transfer_connection(id, &args.connection, &body).await?;
    view::show(context, &updated)
}
