//! `keyferry group list`.

use keyferry_api::groups::GroupView;
use keyferry_domain::id::UserId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::groups;

/// List the groups of the organization
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, _: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let groups = groups(&organization).await?;
    context.printer.list(&groups, &["ID", "NAME", "USERS"], "no groups yet", |one| {
        vec![one.id.to_string(), one.name.clone(), one.users.len().to_string()]
    })
}

/// Returns what is shown of a group.
pub(crate) fn fields(one: &GroupView) -> Vec<(&'static str, String)> {
    let users: Vec<&str> = one.users.iter().map(UserId::as_str).collect();
    vec![("ID", one.id.to_string()), ("Name", one.name.clone()), ("Users", users.join("\n"))]
}
