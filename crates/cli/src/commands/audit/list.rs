//! `keyferry audit list`.

use keyferry_api::audit::AuditQuery;
use keyferry_domain::Timestamp;
use keyferry_domain::audit::Outcome;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{Limit, parse, show};
use crate::printer::moment;

/// List audit events, newest first: who did what, and what was refused
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry audit list --outcome refused --since 2026-01-31T00:00:00Z
  keyferry audit list --action lease.issue --target team-git --limit 20")]
pub(crate) struct Args {
    /// With this action: `lease.issue`
    #[arg(long)]
    action: Option<String>,
    /// By this actor's id
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// On this thing's id
    #[arg(long, value_name = "ID")]
    target: Option<String>,
    /// allowed, refused or failed
    #[arg(long, value_parser = parse::<Outcome>)]
    outcome: Option<Outcome>,
    /// At or after this moment (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    since: Option<Timestamp>,
    /// Before this moment (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    until: Option<Timestamp>,
    #[command(flatten)]
    limit: Limit,
}

fn read_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| format!("failed to {error}"))
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = &context.organization().await?;
    let filter = &args;
    let fetch = |limit, cursor| async move {
        let query = AuditQuery {
            limit,
            cursor,
            action: filter.action.clone(),
            actor_id: filter.actor.clone(),
            target_id: filter.target.clone(),
            outcome: filter.outcome,
            since: filter.since,
            until: filter.until,
        };
        organization.client.list_audit_events(&organization.id, &query).await
    };
    let header = ["TIME", "ACTOR", "ACTION", "TARGET", "OUTCOME", "REASON"];
    show(context.printer, args.limit, fetch, &header, "no events", |one| {
        vec![
            moment(one.at),
            one.actor_id.clone().unwrap_or_else(|| one.actor_kind.clone()),
            one.action.clone(),
            one.target_id.clone().unwrap_or_default(),
            one.outcome.to_string(),
            one.reason.clone().unwrap_or_default(),
        ]
    })
    .await
}
