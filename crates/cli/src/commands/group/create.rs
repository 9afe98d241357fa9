//! `keyferry group create`.

use keyferry_api::groups::CreateGroup;

use super::list::fields;
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::users;

/// Create a group
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry group create deployers --user jane@example.com --user ali@example.com")]
pub(crate) struct Args {
    /// Name, unique in the organization
    name: String,
    /// A member, by id or e-mail address; may be repeated
    #[arg(long, value_name = "USER")]
    user: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let users = users(&organization, &args.user).await?;
    let body = CreateGroup { name: args.name, users };
    let created = organization.client.create_group(&organization.id, &body).await?;
    context.printer.record(&created, fields(&created))
}
