//! `keyferry member remove`.

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::member;

/// Remove a member from the organization
///
/// Their sessions, tokens and private connections stop working here at once. Connections that
/// others use stay, and wait for `keyferry connection transfer`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The member, by id or e-mail address
    member: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let found = member(&organization, &args.member).await?;
    context.confirm(args.yes, &format!("Remove {} <{}>?", found.name, found.email))?;
    organization.client.delete_member(&organization.id, &found.user_id).await?;
    context.printer.talk(&format!("{} is no member any more", found.email))
}
