//! Finding out whether a job failed because a service refuses a credential.
//!
//! Tools say that in words of their own, or not at all, and never what to do about it. So the
//! connections that a failed job has used are tried again, by the server and not by the job, whose
//! word for it would be a word of whoever wrote its script. What a runner saw itself it has reported
//! already, by the lease.

use std::time::Duration;

use keyferry_domain::Actor;
use keyferry_domain::connection::{ConnectionId, HealthStatus};
use keyferry_store::connections;
use keyferry_store::jobs::JobRecord;

use crate::Broker;
use crate::leases::Rejection;

/// How long the end of a failed job may wait for the services that it used; its leases live on
/// meanwhile.
const LOOK: Duration = Duration::from_secs(5);

impl Broker {
    /// Returns why a job failed, with the connections whose credential is refused now, and what to
    /// do about each.
    pub(super) async fn reason_with_rejections(
        &self,
        actor: &Actor,
        job: &JobRecord,
        reason: Option<String>,
    ) -> Option<String> {
        let mut said: Vec<String> = reason.into_iter().collect();
        let is_told = |id: &ConnectionId| {
            let told = format!("`keyferry connection reconfigure {id}`");
            said.iter().any(|reason| reason.contains(&told))
        };
        let used = job.uses.keys().filter_map(|id| id.parse().ok());
        let used: Vec<ConnectionId> = used.filter(|id| !is_told(id)).collect();
        let tries = used.iter().map(|id| self.rejection(actor, job, id));
        // What is not known in time is not said.
        let found = tokio::time::timeout(LOOK, futures::future::join_all(tries)).await;
        said.extend(found.unwrap_or_default().into_iter().flatten());
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// Tries a connection, and keeps and returns a refusal of its credential.
    async fn rejection(&self, actor: &Actor, job: &JobRecord, id: &ConnectionId) -> Option<String> {
        let organization = &job.organization_id;
        let connection = connections::find(&self.store, organization, id).await.ok().flatten()?;
        let opened = self.open_current(connection).await.ok()?;
        let (health, _) = self.examine(&opened).await;
        if health.status != HealthStatus::Rejected {
            return None;
        }
        let mut connection = opened.connection;
        if let Err(error) = self.keep_health(actor, &mut connection, health).await {
            tracing::warn!(?error, connection = %id, "keep the health of a connection");
        }
        Some(Rejection { connection }.explanation())
    }
}
