//! `keyferry run retry`.

use keyferry_domain::id::RunId;
use keyferry_domain::run::JobState;

use super::follow::follow;
use super::get::show;
use super::logs::choose;
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// Try jobs of a run again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry run retry run_01…                      every job that failed
  keyferry run retry run_01… --job build.compile --watch")]
pub(crate) struct Args {
    /// The run's id, `run_…`
    #[arg(value_parser = parse::<RunId>)]
    run: RunId,
    /// This job, by key or id; every failed one when absent
    #[arg(long)]
    job: Option<String>,
    /// Show its logs, and end with its outcome
    #[arg(long)]
    watch: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let (client, id) = (&organization.client, &organization.id);
    let mut run = client.get_run(id, &args.run).await?;
    let mut jobs = Vec::new();
    for job in choose(&run, args.job.as_deref())? {
        if args.job.is_some() || matches!(job.state, JobState::Failed | JobState::Canceled) {
            jobs.push(job.id.clone());
        }
    }
    if jobs.is_empty() {
        return Err(CliError::invalid("no job of this run has failed")
            .hint("name one with `--job` to try it again all the same"));
    }
    for job in &jobs {
        run = client.retry_job(id, &args.run, job).await?;
    }
    if args.watch {
        return follow(context, &organization, &args.run).await;
    }
    show(context, &run)
}
