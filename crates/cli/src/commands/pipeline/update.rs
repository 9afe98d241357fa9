//! `keyferry pipeline update`.

use keyferry_api::pipelines::UpdatePipeline;

use super::get::show;
use super::text;
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::pipeline;

/// Save a new revision of a pipeline, or a new name
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry pipeline update nightly pipeline.yaml
  keyferry pipeline update nightly --name weekly")]
pub(crate) struct Args {
    /// The pipeline, by id or name
    pipeline: String,
    /// The file, or `-` for standard input
    #[arg(required_unless_present = "name")]
    file: Option<String>,
    /// New name
    #[arg(long)]
    name: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let yaml = match &args.file {
        None => None,
        Some(file) => {
            let text = text::read(context, file)?;
            text::check(context, &text)?;
            Some(text.yaml)
        }
    };
    let organization = context.organization().await?;
    let id = pipeline(&organization, &args.pipeline).await?;
    let version = organization.client.get_pipeline(&organization.id, &id).await?.version;
    let body = UpdatePipeline { name: args.name, yaml, version };
    let updated = organization.client.update_pipeline(&organization.id, &id, &body).await?;
    show(context, &updated)
}
