//! `keyferry branch delete`.

use keyferry_api::repositories::DeleteBranch;
use keyferry_domain::connection::ConnectionId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// Delete a branch of a repository
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry branch delete my-forge team/app feature/login --yes \\
    --expected-commit 8c1f0e2d6b5a49373c2b1a0f9e8d7c6b5a493837")]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
    /// The repository's path: `team/app`
    repository: String,
    /// The branch
    branch: String,
    /// Delete it only if it still points at this commit
    #[arg(long, value_name = "COMMIT")]
    expected_commit: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let Args { connection, repository, branch, expected_commit, yes } = args;
    context.confirm(yes, &format!("Delete branch {branch} of {repository}?"))?;
    let query = DeleteBranch { repository, branch, expected_commit };
    {
        let _progress = context.printer.progress("deleting the branch");
        organization.client.delete_branch(&organization.id, &connection, &query).await?;
    }
    context.printer.talk(&format!("{} is deleted", query.branch))
}
