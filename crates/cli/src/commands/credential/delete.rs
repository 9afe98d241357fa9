//! `keyferry credential delete`.

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::credential;

/// Delete a credential that no connection stands on
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The credential, by id or name
    credential: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let found = credential(&organization, &args.credential).await?;
    context.confirm(args.yes, &format!("Delete credential {}?", found.name))?;
    organization.client.delete_credential(&organization.id, &found.id).await?;
    context.printer.talk(&format!("credential {} is deleted", found.name))
}
