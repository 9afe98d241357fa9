//! `keyferry connection scope`.

use keyferry_api::connections::UpdateConnection;
use keyferry_domain::Scope;
use keyferry_domain::connection::ConnectionId;

use super::view;
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{self, parse};

/// Change who may use a connection
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry connection scope team-git public
  keyferry connection scope team-git custom --user jane@example.com --group deployers")]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
    /// private (its owner), public (every member) or custom (`--user`, `--group`)
    #[arg(value_parser = parse::<Scope>)]
    scope: Scope,
    /// A user of the custom scope, by id or e-mail address; may be repeated, replaces them all
    #[arg(long, value_name = "USER")]
    user: Vec<String>,
    /// A group of the custom scope, by id or name; may be repeated, replaces them all
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let is_custom = args.scope == Scope::Custom;
    if !is_custom && (!args.user.is_empty() || !args.group.is_empty()) {
        return Err(CliError::invalid("`--user` and `--group` are for the custom scope only"));
    }
    let organization = context.organization().await?;
    let users = lookup::users(&organization, &args.user).await?;
    let groups = lookup::group_ids(&organization, &args.group).await?;
    let (client, id) = (&organization.client, &organization.id);
    let version = client.get_connection(id, &args.connection).await?.version;
    let body = UpdateConnection {
        name: None,
        scope: Some(args.scope),
        users: is_custom.then_some(users),
        groups: is_custom.then_some(groups),
        version,
    };
    let updated = client.update_connection(id, &args.connection, &body).await?;
    view::show(context, &updated)
}
