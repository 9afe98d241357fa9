//! `keyferry group update`.

use keyferry_api::groups::UpdateGroup;

use super::list::fields;
use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{group, users};

/// Rename a group, and add or remove users
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry group update deployers --add jane@example.com --remove ali@example.com
  keyferry group update deployers --name releasers")]
pub(crate) struct Args {
    /// The group, by id or name
    group: String,
    /// New name
    #[arg(long)]
    name: Option<String>,
    /// A member to add, by id or e-mail address; may be repeated
    #[arg(long, value_name = "USER")]
    add: Vec<String>,
    /// A user to remove, by id or e-mail address; may be repeated
    #[arg(long, value_name = "USER")]
    remove: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let found = group(&organization, &args.group).await?;
    let removed = users(&organization, &args.remove).await?;
    let mut left = found.users;
    left.retain(|user| !removed.contains(user));
    for user in users(&organization, &args.add).await? {
        if !left.contains(&user) {
            left.push(user);
        }
    }
    let body =
        UpdateGroup { name: args.name.unwrap_or(found.name), users: left, version: found.version };
    let updated = organization.client.update_group(&organization.id, &found.id, &body).await?;
    context.printer.record(&updated, fields(&updated))
}
