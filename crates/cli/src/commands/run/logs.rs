//! `keyferry run logs`.

use keyferry_api::runs::{JobView, LogQuery, RunView};
use keyferry_domain::id::RunId;

use crate::context::{Context, Organization};
use crate::error::CliError;
use crate::lookup::parse;

/// Print the logs of a run's jobs, as far as they have come
///
/// `keyferry run watch` follows a run that is under way.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry run logs run_01…
  keyferry run logs run_01… --job build.compile")]
pub(crate) struct Args {
    /// The run's id, `run_…`
    #[arg(value_parser = parse::<RunId>)]
    run: RunId,
    /// Of this job only, by key or id
    #[arg(long)]
    job: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let found = organization.client.get_run(&organization.id, &args.run).await?;
    let jobs = choose(&found, args.job.as_deref())?;
    for job in &jobs {
        if jobs.len() > 1 && !context.printer.is_json() {
            context.printer.talk(&format!("{} ({})", job.key, job.state))?;
        }
        let text = read(&organization, &args.run, job).await?;
        if context.printer.is_json() {
            context
                .printer
                .json(&serde_json::json!({ "job": job.key, "id": job.id, "text": text }))?;
        } else {
            context.printer.log(&text)?;
        }
    }
    Ok(())
}

/// Returns the job with this key or id, or all of them.
pub(crate) fn choose<'a>(
    run: &'a RunView,
    asked: Option<&str>,
) -> Result<Vec<&'a JobView>, CliError> {
    let Some(asked) = asked else { return Ok(run.jobs.iter().collect()) };
    let found = run.jobs.iter().find(|job| job.key == asked || job.id.as_str() == asked);
    found.map(|job| vec![job]).ok_or_else(|| {
        let keys: Vec<String> = run.jobs.iter().map(|job| format!("`{}`", job.key)).collect();
        CliError::not_found(format!("job `{asked}` in this run"))
            .hint(format!("jobs: {}", keys.join(", ")))
    })
}

async fn read(organization: &Organization, run: &RunId, job: &JobView) -> Result<String, CliError> {
    let mut text = String::new();
    let mut after = 0;
    loop {
        let query = LogQuery { after, wait_seconds: 0 };
        let part = organization.client.read_job_log(&organization.id, run, &job.id, &query).await?;
        text.push_str(&part.text);
        if part.is_complete || part.next <= after {
            return Ok(text);
        }
        after = part.next;
    }
}
