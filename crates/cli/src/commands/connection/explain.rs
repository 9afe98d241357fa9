//! `keyferry connection explain`.

use keyferry_api::connections::ExplainQuery;
use keyferry_domain::connection::ConnectionId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::{parse, users};

/// Tell whether someone may use a connection, and if not why not
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry connection explain team-git
  keyferry connection explain team-git --user jane@example.com")]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
    /// Who is asked about, by id or e-mail address; you when absent
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let user_id = match args.user {
        Some(user) => users(&organization, &[user]).await?.pop(),
        None => None,
    };
    let query = ExplainQuery { user_id };
    let explanation =
        organization.client.explain_connection(&organization.id, &args.connection, &query).await?;
    context.printer.record(
        &explanation,
        vec![
            ("May use it", if explanation.allowed { "yes" } else { "no" }.to_owned()),
            ("Because", explanation.reasons.join("\n")),
            ("Could change it", explanation.who_can_change_it.join("\n")),
        ],
    )
}
