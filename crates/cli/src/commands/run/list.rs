//! `keyferry run list`.

use keyferry_api::runs::RunQuery;
use keyferry_domain::run::RunState;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{Limit, parse, pipeline, show};
use crate::printer::{moment, moment_or};

/// List runs, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry run list --pipeline nightly --state failed --limit 10")]
pub(crate) struct Args {
    /// Of this pipeline only, by id or name
    #[arg(long)]
    pipeline: Option<String>,
    /// queued, running, succeeded, failed or canceled
    #[arg(long, value_parser = parse::<RunState>)]
    state: Option<RunState>,
    #[command(flatten)]
    limit: Limit,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = &context.organization().await?;
    let pipeline_id = match &args.pipeline {
        Some(written) => Some(pipeline(organization, written).await?),
        None => None,
    };
    let (pipeline_id, state) = (&pipeline_id, args.state);
    let fetch = |limit, cursor| async move {
        let query = RunQuery { limit, cursor, pipeline_id: pipeline_id.clone(), state };
        organization.client.list_runs(&organization.id, &query).await
    };
    let header = ["ID", "PIPELINE", "NUMBER", "STATE", "ASKED FOR", "OVER"];
    show(context.printer, args.limit, fetch, &header, "no runs", |one| {
        vec![
            one.id.to_string(),
            one.pipeline_name.clone(),
            one.number.to_string(),
            one.state.to_string(),
            moment(one.created_at),
            moment_or(one.finished_at, ""),
        ]
    })
    .await
}
