//! `keyferry pipeline delete`.

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::pipeline;

/// Delete a pipeline
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The pipeline, by id or name
    pipeline: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let id = pipeline(&organization, &args.pipeline).await?;
    context.confirm(args.yes, &format!("Delete pipeline {}?", args.pipeline))?;
    organization.client.delete_pipeline(&organization.id, &id).await?;
    context.printer.talk(&format!("pipeline {} is deleted", args.pipeline))
}
