//! `keyferry connection delete`.

use keyferry_api::connections::DeleteConnection;
use keyferry_domain::connection::ConnectionId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;

/// Delete a connection
///
/// Refused while pipelines use it, unless `--force` is given: their runs then fail with a message
/// that names the deleted connection. Its ID is never used again. Live leases end.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
    /// Delete it although pipelines use it
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    context.confirm(args.yes, &format!("Delete connection {}?", args.connection))?;
    let query = DeleteConnection { force: args.force };
    let done =
        organization.client.delete_connection(&organization.id, &args.connection, &query).await;
    match done {
        Err(error) if error.problem().is_some_and(|problem| !problem.used_by.is_empty()) => {
            let error = CliError::from(error);
            return Err(if args.force {
                error
            } else {
                error.hint("`--force` deletes it all the same; the pipelines then fail")
            });
        }
        done => done?,
    }
    context.printer.talk(&format!("{} is deleted", args.connection))
}
