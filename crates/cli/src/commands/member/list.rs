//! `keyferry member list`.

use keyferry_api::PageQuery;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{Limit, up_to};
use crate::printer::moment;

/// List the members of the organization
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    limit: Limit,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = &context.organization().await?;
    let listed = up_to(args.limit, |limit, cursor| async move {
        let query = PageQuery { limit, cursor };
        organization.client.list_members(&organization.id, &query).await
    })
    .await?;
    let header = ["ID", "E-MAIL", "NAME", "ROLE", "JOINED"];
    context.printer.list(&listed.items, &header, "no members", |one| {
        vec![
            one.user_id.to_string(),
            one.email.clone(),
            one.name.clone(),
            one.role.to_string(),
            moment(one.created_at),
        ]
    })?;
    listed.say_when_cut(context.printer)
}
