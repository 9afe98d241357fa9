//! `keyferry connection verify`.

use keyferry_domain::connection::{ConnectionId, HealthStatus};

use super::view;
use crate::context::Context;
use crate::error::{CliError, Kind};
use crate::lookup::parse;

/// Try a connection's credential at its service
///
/// Ends with exit code 8 when the service refuses it or does not answer.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The connection's ID
    #[arg(value_parser = parse::<ConnectionId>)]
    connection: ConnectionId,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let verified = {
        let _progress = context.printer.progress("trying the credential at the service");
        organization.client.verify_connection(&organization.id, &args.connection).await?
    };
    let health = view::health(&verified.health);
    context.printer.text_or_json(&verified, &health)?;
    let hint = match verified.health.status {
        HealthStatus::Healthy => return Ok(()),
        HealthStatus::Unverified => "this type has no service that could be asked",
        HealthStatus::Rejected => "replace its credential with `keyferry connection reconfigure`",
        HealthStatus::Misconfigured => "correct it with `keyferry connection reconfigure --set …`",
        HealthStatus::Unreachable => "can the server reach the service?",
    };
    let message = format!("{} is {}", args.connection, verified.health.status);
    Err(CliError::new(Kind::Upstream, message).hint(hint))
}
