//! `keyferry repository list`.

use keyferry_api::repositories::RepositoryQuery;
use keyferry_domain::connection::ConnectionId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{Limit, parse, show};

/// List the repositories that a connection shows
///
/// Plain Git servers have no way to list repositories; name the repository's path to `keyferry
/// branch list` there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry repository list my-forge --search app")]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
    /// With this text in the path
    #[arg(long)]
    search: Option<String>,
    #[command(flatten)]
    limit: Limit,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = &context.organization().await?;
    let (connection, search) = (&args.connection, &args.search);
    let printer = context.printer;
    let fetch = |limit, cursor| async move {
        let _progress = printer.progress("asking the service");
        let query = RepositoryQuery { search: search.clone(), limit, cursor };
        organization.client.list_repositories(&organization.id, connection, &query).await
    };
    let header = ["PATH", "DEFAULT BRANCH", "SEEN BY", "DESCRIPTION"];
    show(context.printer, args.limit, fetch, &header, "no repositories", |one| {
        let seen_by = match (one.archived, one.private) {
            (true, _) => "archived",
            (false, true) => "members",
            (false, false) => "everyone",
        };
        vec![
            one.path.clone(),
            one.default_branch.clone().unwrap_or_default(),
            seen_by.to_owned(),
            one.description.clone().unwrap_or_default(),
        ]
    })
    .await
}
