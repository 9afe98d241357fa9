//! `keyferry whoami`: who the server takes the caller for.

use crate::context::Context;
use crate::error::CliError;

/// Show who you are, and the organizations that you belong to
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, _: Args) -> Result<(), CliError> {
    let client = context.client()?;
    let user = client.get_current_user().await?;
    let memberships: Vec<String> = user
        .memberships
        .iter()
        .map(|one| format!("{} ({}, {})", one.organization_name, one.role, one.organization_id))
        .collect();
    context.printer.record(
        &user,
        vec![
            ("User", format!("{} <{}>", user.name, user.email)),
            ("ID", user.id.to_string()),
            ("Server", client.address().to_string()),
            ("Organizations", memberships.join("\n")),
        ],
    )
}
