//! `keyferry organization create`.

use keyferry_api::organizations::CreateOrganization;

use super::list::fields;
use crate::context::Context;
use crate::error::CliError;

/// Create an organization; you become its owner
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name, 1 to 100 characters
    name: String,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let body = CreateOrganization { name: args.name };
    let created = context.client()?.create_organization(&body).await?;
    context.printer.record(&created, fields(&created))
}
