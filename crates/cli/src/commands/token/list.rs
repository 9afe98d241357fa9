//! `keyferry token list`.

use keyferry_api::PageQuery;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{Limit, up_to};
use crate::printer::{moment, moment_or};

/// List your API tokens in the organization
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    limit: Limit,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = &context.organization().await?;
    let listed = up_to(args.limit, |limit, cursor| async move {
        let query = PageQuery { limit, cursor };
        organization.client.list_tokens(&organization.id, &query).await
    })
    .await?;
    let header = ["ID", "NAME", "STARTS WITH", "EXPIRES", "LAST USED"];
    context.printer.list(&listed.items, &header, "no tokens", |one| {
        vec![
            one.id.to_string(),
            one.name.clone(),
            one.hint.clone(),
            moment(one.expires_at),
            moment_or(one.last_used_at, "never"),
        ]
    })?;
    listed.say_when_cut(context.printer)
}
