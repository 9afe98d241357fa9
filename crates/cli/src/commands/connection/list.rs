//! `keyferry connection list`.

use keyferry_api::connections::ConnectionQuery;
use keyferry_domain::connection::HealthStatus;

use super::view::health;
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{Limit, parse, show};
use crate::printer::moment_or;

/// List connections
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry connection list --type git --health rejected
  keyferry connection list --search team --output json")]
pub(crate) struct Args {
    /// Of this type only
    #[arg(long = "type", value_name = "TYPE")]
    connection_type: Option<String>,
    /// With this text in name or ID
    #[arg(long)]
    search: Option<String>,
    /// healthy, rejected, unreachable, misconfigured or unverified
    #[arg(long, value_parser = parse::<HealthStatus>)]
    health: Option<HealthStatus>,
    #[command(flatten)]
    limit: Limit,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = &context.organization().await?;
    let filter = &args;
    let fetch = |limit, cursor| async move {
        let query = ConnectionQuery {
            limit,
            cursor,
            connection_type: filter.connection_type.clone(),
            search: filter.search.clone(),
            health: filter.health,
        };
        organization.client.list_connections(&organization.id, &query).await
    };
    let header = ["ID", "NAME", "TYPE", "SCOPE", "HEALTH", "LAST USED"];
    let empty = "no connections; `keyferry connection create` makes one";
    show(context.printer, args.limit, fetch, &header, empty, |one| {
        vec![
            one.connection_id.to_string(),
            one.name.clone(),
            one.connection_type.clone(),
            one.scope.to_string(),
            health(&one.health),
            moment_or(one.last_used_at, "never"),
        ]
    })
    .await
}
