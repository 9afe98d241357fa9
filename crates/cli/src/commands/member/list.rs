//! `keyferry member list`.

use keyferry_api::PageQuery;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{Limit, show};
use crate::printer::moment;

/// List the members of the organization
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    limit: Limit,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = &context.organization().await?;
    let fetch = |limit, cursor| async move {
        let query = PageQuery { limit, cursor };
        organization.client.list_members(&organization.id, &query).await
    };
    let header = ["ID", "E-MAIL", "NAME", "ROLE", "JOINED"];
    show(context.printer, args.limit, fetch, &header, "no members", |one| {
        vec![
            one.user_id.to_string(),
            one.email.clone(),
            one.name.clone(),
            one.role.to_string(),
            if one.invited { "invited".to_owned() } else { moment(one.created_at) },
        ]
    })
    .await
}
