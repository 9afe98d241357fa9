//! `keyferry lease get`.

use keyferry_domain::id::LeaseId;

use crate::context::Context;
use crate::error::CliError;
use crate::lookup::parse;
use crate::printer::{moment, moment_or};

/// Show a lease: what was asked for, what was given, how it ended, and what it left behind
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The lease's id, `lease_…`
    #[arg(value_parser = parse::<LeaseId>)]
    lease: LeaseId,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let organization = context.organization().await?;
    let one = organization.client.get_lease(&organization.id, &args.lease).await?;
    let residue = one.residue.as_ref().map(|residue| match residue.until {
        Some(until) => format!("{}, until {}", residue.what, moment(until)),
        None => residue.what.clone(),
    });
    context.printer.record(
        &one,
        vec![
            ("ID", one.id.to_string()),
            ("Connection", one.connection_id.to_string()),
            ("Credential", format!("{}, version {}", one.credential_id, one.credential_version)),
            ("Held by", one.holder.id().to_owned()),
            ("Asked for", one.operation.to_string()),
            ("Given", one.narrowing.to_string()),
            ("State", one.state.clone()),
            ("Issued", moment(one.issued_at)),
            ("Ends", moment(one.expires_at)),
            ("Ended", moment_or(one.ended_at, "")),
            ("Why", one.end_reason.map(|reason| reason.to_string()).unwrap_or_default()),
            ("Left behind", residue.unwrap_or_default()),
            ("Last failure", one.last_error.clone().unwrap_or_default()),
        ],
    )
}
