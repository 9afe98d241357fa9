//! `keyferry run start`.

use std::collections::BTreeMap;

use keyferry_api::runs::CreateRun;

use super::follow::follow;
use super::get::show;
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::pipeline;
use crate::secret_source::split_pair;

/// Start a run of a pipeline
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry run start nightly --watch
  keyferry run start nightly --variable LEVEL=full --branch app=release/2")]
pub(crate) struct Args {
    /// The pipeline, by id or name
    pipeline: String,
    /// A variable in place of the pipeline's own; may be repeated. Not for secrets
    #[arg(long, value_name = "NAME=VALUE")]
    variable: Vec<String>,
    /// A branch of a source in place of the pipeline's; may be repeated
    #[arg(long, value_name = "SOURCE=BRANCH")]
    branch: Vec<String>,
    /// A note
    #[arg(long)]
    comment: Option<String>,
    /// Show its logs, and end with its outcome
    #[arg(long)]
    watch: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let variables = pairs("--variable", &args.variable)?;
    let branches = pairs("--branch", &args.branch)?;
    let organization = context.organization().await?;
    let pipeline = pipeline(&organization, &args.pipeline).await?;
    let body = CreateRun { variables, branches, comment: args.comment };
    let started = organization.client.create_run(&organization.id, &pipeline, &body).await?;
    if args.watch {
        context.printer.talk(&format!("run {} ({})", started.number, started.id))?;
        return follow(context, &organization, &started.id).await;
    }
    show(context, &started)?;
    context.printer.talk(&format!("follow it with `keyferry run watch {}`", started.id))
}

fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let mut out = BTreeMap::new();
    for text in texts {
        let (name, value) = split_pair(flag, text)?;
        if out.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(CliError::invalid(format!("{flag} {name} is given twice")));
        }
    }
    Ok(out)
}
