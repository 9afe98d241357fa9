//! `keyferry pipeline list`.

use keyferry_api::pipelines::PipelineQuery;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{Limit, show};
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
    let fetch = |limit, cursor| async move {
        let query = PipelineQuery { limit, cursor, search: search.clone() };
        organization.client.list_pipelines(&organization.id, &query).await
    };
    let empty = "no pipelines; `keyferry pipeline create NAME FILE` makes one";
    show(context.printer, args.limit, fetch, &["ID", "NAME", "REVISION", "CHANGED"], empty, |one| {
        vec![one.id.to_string(), one.name.clone(), one.revision.to_string(), moment(one.updated_at)]
    })
    .await
}
