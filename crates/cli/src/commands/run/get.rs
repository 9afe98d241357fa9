//! `keyferry run get`.

use keyferry_api::runs::{JobView, RunView};
use keyferry_domain::id::RunId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;
use crate::printer::{moment, moment_or};

/// Show a run: its jobs, steps, and what they used
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run's id, `run_…`
    #[arg(value_parser = parse::<RunId>)]
    run: RunId,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let found = organization.client.get_run(&organization.id, &args.run).await?;
    show(context, &found)
}

/// Prints a run.
pub(crate) fn show(context: &Context, one: &RunView) -> Result<(), CliError> {
    let jobs: Vec<String> = one.jobs.iter().map(job).collect();
    context.printer.record(
        one,
        vec![
            ("ID", one.id.to_string()),
            ("Pipeline", format!("{}, revision {}", one.pipeline_name, one.revision)),
            ("Number", one.number.to_string()),
            ("State", one.state.to_string()),
            ("Why", one.reason.clone().unwrap_or_default()),
            ("Started by", one.started_by.clone()),
            ("Note", one.comment.clone().unwrap_or_default()),
            ("Asked for", moment(one.created_at)),
            ("Started", moment_or(one.started_at, "")),
            ("Over", moment_or(one.finished_at, "")),
            ("Jobs", jobs.join("\n")),
        ],
    )
}

fn job(one: &JobView) -> String {
    let reason = |reason: &Option<String>| match reason {
        Some(reason) => format!(": {reason}"),
        None => String::new(),
    };
    let mut lines = vec![format!("{} {}{}", one.key, one.state, reason(&one.reason))];
    if let Some(isolation) = one.isolation {
        lines.push(format!("  kept apart by {isolation}"));
    }
    for step in &one.steps {
        lines.push(format!("  {} {}{}", step.name, step.state, reason(&step.reason)));
    }
    for (connection, count) in &one.uses {
        lines.push(format!("  used {connection} {count} times"));
    }
    lines.join("\n")
}
