//! `keyferry runner list`.

use keyferry_api::PageQuery;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{Limit, show};
use crate::printer::{moment, moment_or};

/// List the runners of the organization
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    limit: Limit,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = &context.organization().await?;
    let fetch = |limit, cursor| async move {
        let query = PageQuery { limit, cursor };
        organization.client.list_runners(&organization.id, &query).await
    };
    let empty = "no runners; `keyferry runner register NAME` makes one";
    show(
        context.printer,
        args.limit,
        fetch,
        &["ID", "NAME", "REGISTERED", "LAST SEEN"],
        empty,
        |one| {
            vec![
                one.id.to_string(),
                one.name.clone(),
                moment(one.created_at),
                moment_or(one.last_seen_at, "never"),
            ]
        },
    )
    .await
}
