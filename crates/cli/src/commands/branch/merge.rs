//! `keyferry branch merge`.

use keyferry_api::repositories::{MergeBranch, MergeStrategy};
use keyferry_domain::connection::ConnectionId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// How branches are brought together.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Strategy {
    /// A merge commit
    Merge,
    /// Move the branch, or fail
    FastForward,
    /// One new commit with all changes
    Squash,
}

/// Merge one branch into another, by the service's own call
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry branch merge my-forge team/app --from feature/login --into main
  keyferry branch merge my-forge team/app --from fix --into main --strategy squash \\
    --message \"Fix the login\"")]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
    /// The repository's path: `team/app`
    repository: String,
    /// The branch with the changes
    #[arg(long, value_name = "BRANCH")]
    from: String,
    /// The branch that takes them
    #[arg(long, value_name = "BRANCH")]
    into: String,
    /// How
    #[arg(long, value_enum, default_value = "merge")]
    strategy: Strategy,
    /// The commit's message
    #[arg(long)]
    message: Option<String>,
    /// Merge only if `--from` still points at this commit
    #[arg(long, value_name = "COMMIT")]
    expected_commit: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let strategy = match args.strategy {
        Strategy::Merge => MergeStrategy::Merge,
        Strategy::FastForward => MergeStrategy::FastForward,
        Strategy::Squash => MergeStrategy::Squash,
    };
    let body = MergeBranch {
        repository: args.repository,
        from: args.from,
        into: args.into,
        strategy: Some(strategy),
        message: args.message,
        expected_commit: args.expected_commit,
    };
    let merged = {
        let _progress = context.printer.progress("merging");
        organization.client.merge_branch(&organization.id, &args.connection, &body).await?
    };
    let text = match &merged.commit {
        Some(commit) => format!("{} is at {commit} now", body.into),
        None => format!("{} has everything of {} already", body.into, body.from),
    };
    context.printer.text_or_json(&merged, &text)
}
