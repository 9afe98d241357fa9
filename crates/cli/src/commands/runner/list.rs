//! `keyferry runner list`.

use keyferry_api::PageQuery;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{Limit, up_to};
use crate::printer::{moment, moment_or};

/// List the runners of the organization
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    limit: Limit,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = &context.organization().await?;
    let listed = up_to(args.limit, |limit, cursor| async move {
        let query = PageQuery { limit, cursor };
        organization.client.list_runners(&organization.id, &query).await
    })
    .await?;
    let empty = "no runners; `keyferry runner register NAME` makes one";
    context.printer.list(
        &listed.items,
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
    )?;
    listed.say_when_cut(context.printer)
}
