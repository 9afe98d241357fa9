//! `keyferry pipeline list`.

use keyferry_api::pipelines::PipelineQuery;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{Limit, up_to};
use crate::printer::moment;

/// List pipelines
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// With this text in the name
    #[arg(long)]
    search: Option<String>,
    #[command(flatten)]
    limit: Limit,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = &context.organization().await?;
    let search = &args.search;
    let listed = up_to(args.limit, |limit, cursor| async move {
        let query = PipelineQuery { limit, cursor, search: search.clone() };
        organization.client.list_pipelines(&organization.id, &query).await
    })
    .await?;
    let empty = "no pipelines; `keyferry pipeline create NAME FILE` makes one";
    context.printer.list(&listed.items, &["ID", "NAME", "REVISION", "CHANGED"], empty, |one| {
        vec![one.id.to_string(), one.name.clone(), one.revision.to_string(), moment(one.updated_at)]
    })?;
    listed.say_when_cut(context.printer)
}
