//! `keyferry tag delete`.

use keyferry_api::repositories::DeleteTag;
use keyferry_domain::connection::ConnectionId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// Delete a tag of a repository
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
    /// The repository's path: `team/app`
    repository: String,
    /// The tag
    tag: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let Args { connection, repository, tag, yes } = args;
    context.confirm(yes, &format!("Delete tag {tag} of {repository}?"))?;
    let query = DeleteTag { repository, tag };
    {
        let _progress = context.printer.progress("deleting the tag");
        organization.client.delete_tag(&organization.id, &connection, &query).await?;
    }
    context.printer.talk(&format!("{} is deleted", query.tag))
}
