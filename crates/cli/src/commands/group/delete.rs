//! `keyferry group delete`.

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::group;

/// Delete a group; connections with it in their scope lose it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The group, by id or name
    group: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let found = group(&organization, &args.group).await?;
    context.confirm(args.yes, &format!("Delete group {}?", found.name))?;
    organization.client.delete_group(&organization.id, &found.id).await?;
    context.printer.talk(&format!("group {} is deleted", found.name))
}
