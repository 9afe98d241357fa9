//! `keyferry pipeline get`.

use keyferry_api::pipelines::PipelineView;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::pipeline;
use crate::printer::moment;

/// Show a pipeline and its rights to connections
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry pipeline get nightly
  keyferry pipeline get nightly --yaml > pipeline.yaml
  keyferry pipeline get nightly --yaml --revision 3")]
pub(crate) struct Args {
    /// The pipeline, by id or name
    pipeline: String,
    /// Print the YAML text as it was saved
    #[arg(long)]
    yaml: bool,
    /// The text of this revision, in place of the current one
    #[arg(long, value_name = "NUMBER", requires = "yaml")]
    revision: Option<i64>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let (client, id) = (&organization.client, &organization.id);
    let pipeline = pipeline(&organization, &args.pipeline).await?;
    if let Some(number) = args.revision {
        let revision = client.get_revision(id, &pipeline, number).await?;
        if context.printer.is_json() {
            return context.printer.json(&revision);
        }
        return context.printer.raw(&revision.yaml);
    }
    let found = client.get_pipeline(id, &pipeline).await?;
    if args.yaml && !context.printer.is_json() {
        return context.printer.raw(&found.revision.yaml);
    }
    show(context, &found)
}

/// Prints a pipeline, and says when a place of it waits for approval.
pub(crate) fn show(context: &Context, one: &PipelineView) -> Result<(), CliError> {
    let bindings: Vec<String> = one
        .bindings
        .iter()
        .map(|binding| {
            let place = format!("{} uses {}", binding.place, binding.connection_id);
            format!("{place}: {} ({})", binding.state, binding.id)
        })
        .collect();
    context.printer.record(
        one,
        vec![
            ("ID", one.id.to_string()),
            ("Name", one.name.clone()),
            ("Owner", one.owner_id.to_string()),
            ("Revision", one.revision.number.to_string()),
            ("Saved", format!("{} by {}", moment(one.revision.created_at), one.revision.author_id)),
            ("Connections", bindings.join("\n")),
            ("Version", one.version.to_string()),
        ],
    )?;
    let waiting: Vec<&str> = one
        .bindings
        .iter()
        .filter(|binding| binding.state == "needs_approval")
        .map(|binding| binding.id.as_str())
        .collect();
    if waiting.is_empty() {
        return Ok(());
    }
    context.printer.talk(&format!(
        "before it can run there, someone who may use the connection says: keyferry pipeline \
         approve {} {}",
        one.id,
        waiting.join(" ")
    ))
}
