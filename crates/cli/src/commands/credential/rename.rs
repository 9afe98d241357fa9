//! `keyferry credential rename`.

use keyferry_api::credentials::UpdateCredential;

use super::get::fields;
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::credential;

/// Rename a credential
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The credential, by id or name
    credential: String,
    /// New name, 1 to 100 characters
    name: String,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let found = credential(&organization, &args.credential).await?;
    let body = UpdateCredential { name: args.name, version: found.version };
    let updated = organization.client.update_credential(&organization.id, &found.id, &body).await?;
    context.printer.record(&updated, fields(&updated))
}
