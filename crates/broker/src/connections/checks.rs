//! Trying connections again when it is time, so that people hear of a revoked credential before a
//! job does.
//!
//! Rows carry when their next check is due. A server claims due rows, so several servers share
//! them, and one that dies leaves them to be claimed again. Only a change of health is an event of
//! the audit record. A credential that was refused is tried rarely: services lock accounts after a
//! few wrong tries.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use keyferry_domain::audit::Target;
use keyferry_domain::connection::{Health, HealthStatus};
use keyferry_domain::{Actor, Result, Timestamp};
use keyferry_providers::ProviderError;
use keyferry_store::connections;
use keyferry_store::connections::ConnectionRecord;

use crate::Broker;
use crate::access::only_the_system;
use crate::audit::Event;
use crate::failure::store_failed;

/// How many connections one server tries at the same time.
const AT_ONCE: usize = 4;

/// How many are claimed together.
const BATCH: u32 = 16;

/// How long one try may take in all, however many calls it makes.
const TIME_LIMIT: Duration = Duration::from_mins(1);

/// For how long claimed connections are this server's: longer than a whole batch can take.
const CLAIM: Duration = Duration::from_mins(10);

/// How soon an unreachable service is tried again; doubled each time, up to the interval.
const UNREACHABLE_WAIT: Duration = Duration::from_mins(5);

/// How soon a credential that was refused is tried again at the earliest; doubled each time.
const REJECTED_WAIT: Duration = Duration::from_hours(24);

/// How rarely such a credential is tried at the most.
const REJECTED_WAIT_MOST: Duration = Duration::from_hours(7 * 24);

impl Broker {
    /// Gives a first check to every connection that has none, spread over one interval: those
    /// stored while checks were off. Called once at start.
    pub async fn schedule_checks(&self, actor: &Actor) -> Result<()> {
        only_the_system(actor)?;
        let Some(interval) = self.check_interval else { return Ok(()) };
        let types: Vec<&str> = keyferry_providers::ALL
            .iter()
            .map(|provider| provider.kind())
            .filter(|kind| kind.can_verify)
            .map(|kind| kind.id)
            .collect();
        let now = self.clock.now();
        loop {
            // A batch at a time, each at a moment of its own.
            let at = now.plus(self.part_of(interval));
            let count = connections::schedule_checks(&self.store, &types, at, BATCH)
                .await
                .map_err(store_failed)?;
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Tries the connections whose check is due; returns how many there were. More may be waiting
    /// when there was any.
    pub async fn check_due_connections(&self, actor: &Actor) -> Result<usize> {
        only_the_system(actor)?;
        if self.check_interval.is_none() {
            return Ok(0);
        }
        let now = self.clock.now();
        let due = connections::claim_due_checks(&self.store, now, now.plus(CLAIM), BATCH)
            .await
            .map_err(store_failed)?;
        let count = due.len();
        stream::iter(due)
            .for_each_concurrent(AT_ONCE, async |connection| {
                let id = connection.id.clone();
                // The others are tried all the same, and this one again when its claim is over.
                if let Err(error) = self.check(actor, connection).await {
                    tracing::error!(?error, connection = %id, "check a connection");
                }
            })
            .await;
        Ok(count)
    }

    async fn check(&self, actor: &Actor, connection: ConnectionRecord) -> Result<()> {
        let opened = self.open_current(connection).await?;
        let tried = tokio::time::timeout(TIME_LIMIT, self.examine(&opened)).await;
        let (found, failure) = tried.unwrap_or_else(|_| {
            let reason = format!("no answer within {} s", TIME_LIMIT.as_secs());
            let health = Health {
                status: HealthStatus::Unreachable,
                reason: Some(reason.clone()),
                field: None,
                checked_at: Some(self.clock.now()),
            };
            (health, Some(ProviderError::Unavailable { reason }))
        });
        let connection = opened.connection;
        let mut next = self.next_check(&connection, found.status);
        if let Some(ProviderError::RateLimited { retry_after: Some(wait) }) = failure {
            next = next.max(Some(self.clock.now().plus(wait)));
        }
        let before = connection.health();
        // That nobody answered says nothing new of a credential that was refused.
        let is_news = !(found.status == HealthStatus::Unreachable && is_refused(before.status));
        let health = if is_news { found } else { before };
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let is_kept = connections::set_health(&mut change, &connection, &health, next)
            .await
            .map_err(store_failed)?;
        if !is_kept {
            // It was changed or deleted in the meantime, which has a check of its own.
            return Ok(());
        }
        if health.status == connection.health_status {
            return self.commit_all(change, actor, Vec::new()).await;
        }
        let target = Target::new("connection", &connection.id);
        let event = Event::done("connection.verify", target)
            .with("health", health.status)
            .with("health_before", connection.health_status);
        self.commit(change, actor, Some(&connection.organization_id), event).await
    }

    /// Tells when a connection is to be tried again, after something was found or told of it just
    /// now. The record is as it was before.
    pub(super) fn next_check(
        &self,
        before: &ConnectionRecord,
        found: HealthStatus,
    ) -> Option<Timestamp> {
        let interval = self.check_interval?;
        let provider = keyferry_providers::find(&before.connection_type)?;
        if !provider.kind().can_verify {
            return None;
        }
        let now = self.clock.now();
        let waited = before.checked_at.map_or(Duration::ZERO, |checked_at| now.since(checked_at));
        let wait = wait_after(before.health_status, found, waited, interval);
        // Up to a tenth earlier or later, so that what was stored together drifts apart.
        Some(now.plus(wait * 9 / 10 + self.part_of(wait / 5)))
    }

    /// Returns a random part of a time.
    fn part_of(&self, whole: Duration) -> Duration {
        let mut bytes = [0; 2];
        self.random.fill(&mut bytes);
        whole * u32::from(u16::from_le_bytes(bytes)) / u32::from(u16::MAX)
    }
}

/// Tells whether the service, or a look at the settings, has said no.
const fn is_refused(status: HealthStatus) -> bool {
    matches!(status, HealthStatus::Rejected | HealthStatus::Misconfigured)
}

/// How long to wait until the next check, given how long was waited for this one.
fn wait_after(
    before: HealthStatus,
    found: HealthStatus,
    waited: Duration,
    interval: Duration,
) -> Duration {
    let most = REJECTED_WAIT_MOST.max(interval);
    match found {
        HealthStatus::Healthy | HealthStatus::Unverified => interval,
        _ if is_refused(before) => (waited * 2).clamp(REJECTED_WAIT.max(interval), most),
        HealthStatus::Rejected | HealthStatus::Misconfigured => REJECTED_WAIT.max(interval),
        HealthStatus::Unreachable if before == HealthStatus::Unreachable => {
            (waited * 2).max(UNREACHABLE_WAIT).min(interval)
        }
        HealthStatus::Unreachable => UNREACHABLE_WAIT.min(interval),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_credential_is_tried_rarely_whatever_is_found_next() {
        use HealthStatus::{Healthy, Misconfigured, Rejected, Unreachable, Unverified};
        let minutes = Duration::from_mins;
        let hour = minutes(60);
        for (before, found, waited, wait) in [
            (Healthy, Healthy, hour, hour),
            (Unverified, Healthy, hour, hour),
            (Rejected, Healthy, 24 * hour, hour),
            (Healthy, Unreachable, hour, minutes(5)),
            (Unreachable, Unreachable, minutes(5), minutes(10)),
            (Unreachable, Unreachable, minutes(50), hour),
            (Unreachable, Unreachable, Duration::ZERO, minutes(5)),
            (Healthy, Rejected, hour, 24 * hour),
            (Unreachable, Rejected, minutes(5), 24 * hour),
            (Healthy, Misconfigured, hour, 24 * hour),
            (Rejected, Rejected, 24 * hour, 48 * hour),
            (Rejected, Rejected, 400 * hour, 168 * hour),
            (Rejected, Unreachable, minutes(5), 24 * hour),
            (Rejected, Misconfigured, Duration::ZERO, 24 * hour),
        ] {
            let given = wait_after(before, found, waited, hour);
            assert_eq!(given, wait, "{before:?} to {found:?} after {waited:?}");
        }
        // An interval that is longer than the waits is never undercut by a refusal.
        assert_eq!(wait_after(Healthy, Rejected, hour, 300 * hour), 300 * hour);
        assert_eq!(wait_after(Rejected, Rejected, 900 * hour, 300 * hour), 300 * hour);
    }
}
