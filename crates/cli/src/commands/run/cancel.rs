//! `keyferry run cancel`.

use keyferry_domain::id::RunId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// Cancel a run
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run's id, `run_…`
    #[arg(value_parser = parse::<RunId>)]
    run: RunId,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let canceled = organization.client.cancel_run(&organization.id, &args.run).await?;
    let text = if canceled.state.is_over() {
        format!("run {} is {}", canceled.number, canceled.state)
    } else {
        format!("run {} is being canceled", canceled.number)
    };
    context.printer.text_or_json(&canceled, &text)
}
