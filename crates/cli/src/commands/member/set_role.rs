//! `keyferry member set-role`.

use keyferry_api::members::UpdateMember;
use keyferry_domain::Role;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{member, parse};

/// Change a member's role
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The member, by id or e-mail address
    member: String,
    /// owner, admin, member or auditor
    #[arg(value_parser = parse::<Role>)]
    role: Role,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let found = member(&organization, &args.member).await?;
    let body = UpdateMember { role: args.role, version: found.version };
    let updated =
        organization.client.update_member(&organization.id, &found.user_id, &body).await?;
    context.printer.text_or_json(&updated, &format!("{} is {} now", updated.email, updated.role))
}
