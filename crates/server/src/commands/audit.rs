//! `audit verify`: checks that nobody has changed the audit record.

use anyhow::{Result, bail};

use crate::settings::Settings;

/// What can be done with the audit record on the server's machine.
#[derive(clap::Subcommand)]
pub(super) enum Action {
    /// Check every event's hash against its content and the event before.
    Verify,
}

pub(super) async fn run(settings: Settings, action: Action) -> Result<()> {
    super::start_logging(&settings)?;
    let Action::Verify = action;
    let broker = super::open(&settings).await?;
    let report = broker.verify_audit_chain(&broker.system_actor()).await;
    broker.close().await;
    let report = report?;
    match report.first_broken {
        None => super::print(&format!(
            "{} events in {} chains, every hash fits; the last is {}",
            report.events,
            report.chains,
            report.last_hash.as_deref().unwrap_or("none yet")
        )),
        Some(misfit) => {
            bail!(
                "trust the audit record: event {} of chain {} {}",
                misfit.sequence,
                misfit.chain,
                misfit.reason
            )
        }
    }
}
