//! `keyferry lease list`.

use keyferry_api::leases::{LeaseQuery, LeaseView};
use keyferry_domain::connection::ConnectionId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{Limit, parse, show};
use crate::printer::moment;

/// The columns of leases.
pub(crate) const HEADER: [&str; 6] = ["ID", "CONNECTION", "FOR", "STATE", "UNTIL", "LEFT BEHIND"];

/// List leases, newest first: what was given to whom, and until when
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry lease list --state active
  keyferry lease list --connection team-git --output json")]
pub(crate) struct Args {
    /// Of this connection only
    #[arg(long, value_parser = parse::<ConnectionId>)]
    connection: Option<ConnectionId>,
    /// Held by this job or workload only, `job_…` or `work_…`
    #[arg(long, value_name = "ID")]
    holder: Option<String>,
    /// In this state only
    #[arg(long, value_parser = ["pending", "active", "ending", "ended"])]
    state: Option<String>,
    #[command(flatten)]
    limit: Limit,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = &context.organization().await?;
    let filter = &args;
    let fetch = |limit, cursor| async move {
        let query = LeaseQuery {
            limit,
            cursor,
            connection_id: filter.connection.clone(),
            holder_id: filter.holder.clone(),
            state: filter.state.clone(),
        };
        organization.client.list_leases(&organization.id, &query).await
    };
    show(context.printer, args.limit, fetch, &HEADER, "no leases", row).await
}

/// Returns the cells of a lease.
pub(crate) fn row(one: &LeaseView) -> Vec<String> {
    vec![
        one.id.to_string(),
        one.connection_id.to_string(),
        one.holder.id().to_owned(),
        one.state.clone(),
        moment(one.ended_at.unwrap_or(one.expires_at)),
        one.residue.as_ref().map(|residue| residue.what.clone()).unwrap_or_default(),
    ]
}
