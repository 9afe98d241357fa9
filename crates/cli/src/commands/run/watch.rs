//! `keyferry run watch`.

use keyferry_domain::id::RunId;

use super::follow::follow;
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// Follow a run: the logs of all its jobs as they come, and its outcome
///
/// Logs go to standard output, changes of state to standard error. With `--output json` the logs go
/// to standard error, and standard output gets the run as it ended. The exit code is 9 when the run
/// did not succeed. Stopping to watch does not stop the run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run's id, `run_…`
    #[arg(value_parser = parse::<RunId>)]
    run: RunId,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    follow(context, &organization, &args.run).await
}
