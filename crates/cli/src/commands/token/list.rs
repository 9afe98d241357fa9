//! `keyferry token list`.

use keyferry_api::PageQuery;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{Limit, show};
use crate::printer::{moment, moment_or};

/// List your API tokens in the organization
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    limit: Limit,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = &context.organization().await?;
    let fetch = |limit, cursor| async move {
        let query = PageQuery { limit, cursor };
        organization.client.list_tokens(&organization.id, &query).await
    };
    let header = ["ID", "NAME", "STARTS WITH", "EXPIRES", "LAST USED"];
    show(context.printer, args.limit, fetch, &header, "no tokens", |one| {
        vec![
            one.id.to_string(),
            one.name.clone(),
            one.hint.clone(),
            moment(one.expires_at),
            moment_or(one.last_used_at, "never"),
        ]
    })
    .await
}
