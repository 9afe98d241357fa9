//! `keyferry organization rename`.

use keyferry_api::organizations::UpdateOrganization;

use super::list::fields;
use crate::context::Context;
use crate::error::CliError;

/// Rename the organization
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// New name, 1 to 100 characters
    name: String,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let version = organization.client.get_organization(&organization.id).await?.version;
    let body = UpdateOrganization { name: args.name, version };
    let updated = organization.client.update_organization(&organization.id, &body).await?;
    context.printer.record(&updated, fields(&updated))
}
