//! `keyferry organization list`.

use keyferry_api::organizations::OrganizationView;

use crate::context::Context;
use crate::error::CliError;
use crate::printer::moment;

/// List the organizations that you belong to
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, _: Args) -> Result<(), CliError> {
    let list = context.client()?.list_organizations().await?;
    let empty = "you belong to no organization; `keyferry organization create NAME` makes one";
    context.printer.list(&list.items, &["ID", "NAME", "CREATED"], empty, |one| {
        vec![one.id.to_string(), one.name.clone(), moment(one.created_at)]
    })
}

/// Returns what is shown of an organization.
pub(crate) fn fields(one: &OrganizationView) -> Vec<(&'static str, String)> {
    vec![
        ("ID", one.id.to_string()),
        ("Name", one.name.clone()),
        ("Created", moment(one.created_at)),
    ]
}
