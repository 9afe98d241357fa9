//! `keyferry branch list`.

use keyferry_api::repositories::BranchQuery;
use keyferry_domain::connection::ConnectionId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{Limit, parse, show};

/// List the branches of a repository, without a clone
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry branch list my-forge team/app
  keyferry branch list my-forge team/app --search release --output json")]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
    /// The repository's path: `team/app`
    repository: String,
    /// With this text in the name
    #[arg(long)]
    search: Option<String>,
    #[command(flatten)]
    limit: Limit,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = &context.organization().await?;
    let Args { connection, repository, search, limit } = &args;
    let printer = context.printer;
    let fetch = |limit, cursor| async move {
        let _progress = printer.progress("asking the service");
        let (repository, search) = (repository.clone(), search.clone());
        let query = BranchQuery { repository, search, limit, cursor };
        organization.client.list_branches(&organization.id, connection, &query).await
    };
    let marks = |mark: Option<bool>, text: &str| match mark {
        Some(true) => text.to_owned(),
        _ => String::new(),
    };
    let header = ["NAME", "COMMIT", "DEFAULT", "PROTECTED"];
    show(context.printer, *limit, fetch, &header, "no branches", |one| {
        vec![
            one.name.clone(),
            one.commit.clone(),
            marks(one.default, "default"),
            marks(one.protected, "protected"),
        ]
    })
    .await
}
