//! A service that refuses what was handed over: somebody has changed the password there, or has
//! taken rights away. The run's reader learns which connection it is and what to do.

use keyferry_domain::connection::HealthStatus;
use keyferry_domain::id::{LeaseId, OrganizationId};
use keyferry_domain::lease::EndReason;
use keyferry_domain::{Actor, Error, Result};
use keyferry_store::connections::ConnectionRecord;

use super::end::ended;
use crate::Broker;

/// A credential that was refused is not tried again before so many seconds have passed: a job that
/// reports in a loop must not make Keyferry hammer the service.
const TRIAL_GAP_SECONDS: u64 = 10;

/// What was found after a holder reported a refusal.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// The connection, with its health as it is now.
    pub connection: ConnectionRecord,
}

impl Rejection {
    /// Says what happened and what to do, as one sentence for the person who reads the run.
    pub fn explanation(&self) -> String {
        let ConnectionRecord { id, name, .. } = &self.connection;
        let health = self.connection.health();
        let found = health.reason.unwrap_or_default();
        match health.status {
            HealthStatus::Rejected => format!(
                "the credential of connection `{id}` ({name}) does not work any more: {found}; \
                 replace it inside the connection with `keyferry connection reconfigure {id}`, and \
                 run again without editing any pipeline"
            ),
            HealthStatus::Healthy => format!(
                "the credential of connection `{id}` ({name}) works, so it may not do what was \
                 asked: give it the right at the service, or check the address in the pipeline"
            ),
            HealthStatus::Unreachable | HealthStatus::Misconfigured | HealthStatus::Unverified => {
                format!(
                    "the service refused the credential of connection `{id}` ({name}), and trying \
                     it again did not tell more: {found}; look at it with \
                     `keyferry connection verify {id}`"
                )
            }
        }
    }
}

impl Broker {
    /// Ends a lease whose material the service refused, and tries the credential: by its holder.
    pub async fn report_rejection(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &LeaseId,
    ) -> Result<Rejection> {
        let (record, connection) = self.lease_to_end(actor, organization, id).await?;
        let event = ended(id, EndReason::Rejected).with("connection", &connection.id);
        self.end_by_hand(actor, record, event, EndReason::Rejected).await?;
        if connection.deleted_at.is_some() {
            return Err(Error::not_found(format!("connection `{}`", connection.id)));
        }
        let now = self.clock.now();
        // What was healthy just now may have changed since; what was refused is known.
        let is_known = connection.health_status == HealthStatus::Rejected
            && connection
                .checked_at
                .is_some_and(|checked| now.since(checked).as_secs() < TRIAL_GAP_SECONDS);
        if is_known {
            return Ok(Rejection { connection });
        }
        let opened = self.open_current(connection).await?;
        let (health, _) = self.examine(&opened).await;
        let mut connection = opened.connection;
        self.keep_health(actor, &mut connection, health).await?;
        Ok(Rejection { connection })
    }
}
