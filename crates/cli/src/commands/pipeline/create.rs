//! `keyferry pipeline create`.

use keyferry_api::pipelines::CreatePipeline;

use super::get::show;
use super::text;
use crate::context::Context;
use crate::error::CliError;

/// Create a pipeline from a YAML file
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry pipeline create nightly pipeline.yaml")]
pub(crate) struct Args {
    /// Name, unique in the organization
    name: String,
    /// The file, or `-` for standard input
    file: String,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let text = text::read(context, &args.file)?;
    text::check(context, &text)?;
    let organization = context.organization().await?;
    let body = CreatePipeline { name: args.name, yaml: text.yaml };
    let created = organization.client.create_pipeline(&organization.id, &body).await?;
    show(context, &created)
}
