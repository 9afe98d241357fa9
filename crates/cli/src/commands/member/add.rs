//! `keyferry member add`.

use keyferry_api::members::{CreateMember, MemberView};
use keyferry_domain::Role;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// Invite a person into the organization
///
/// The invitation's token is printed once, for you to hand over. It works for a day; the same
/// command makes a new one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry member add jane@example.com --name Jane
  keyferry member add security@example.com --name Security --role auditor")]
pub(crate) struct Args {
    /// E-mail address
    email: String,
    /// Name, shown until they accept; who has an account already keeps the name of that
    #[arg(long)]
    name: Option<String>,
    /// owner, admin, member or auditor
    #[arg(long, default_value = "member", value_parser = parse::<Role>)]
    role: Role,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let name =
        args.name.unwrap_or_else(|| args.email.split('@').next().unwrap_or_default().to_owned());
    let body = CreateMember { email: args.email, name, role: args.role };
    let created = organization.client.create_member(&organization.id, &body).await?;
    let MemberView { email, role, .. } = &created.member;
    context.printer.talk(&format!("{email} is invited as {role}"))?;
    if context.printer.is_json() {
        return context.printer.json(&created);
    }
    context.printer.talk(
        "hand them this invitation; it is shown once. They use it with `keyferry invitation accept`:",
    )?;
    context.printer.data(created.invitation_token.secret().expose())
}
