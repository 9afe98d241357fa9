//! Ending leases, and taking back what was minted: at the end of a holder, when time is up, and
//! after a crash.

use std::time::Duration;

use futures::StreamExt as _;
use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{LeaseId, OrganizationId};
use keyferry_domain::lease::{EndReason, Lease, LeaseState, Residue};
use keyferry_domain::{Actor, Error, Result, Timestamp};
use keyferry_policy::{Action, Facts};
use keyferry_providers::ProviderError;
use keyferry_store::credentials::CredentialRecord;
use keyferry_store::leases::LeaseRecord;
use keyferry_store::{connections, credentials, leases};

use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::opened::Opened;

/// A lease that was never handed over is taken for abandoned after this: no mint takes so long.
const ABANDONED: Duration = Duration::from_mins(1);

/// Revocations that are tried again are claimed for so long, so that no two servers try at once.
const CLAIM: Duration = Duration::from_mins(1);

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// After so long the rest is called residue: nobody can take it back any more.
const GIVE_UP: Duration = Duration::from_hours(7 * 24);

/// Leases of one sweep, and revocations at the same time.
const BATCH: u32 = 100;
const AT_ONCE: usize = 8;

impl Broker {
    /// Ends a lease by hand: by its holder, or by someone who looks after the connection.
    pub async fn end_lease(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &LeaseId,
    ) -> Result<()> {
        let record = self.find_lease(organization, id).await?;
        let connection =
            connections::find_with_deleted(&self.store, organization, &record.lease.connection)
                .await
                .map_err(store_failed)?
                .ok_or_else(|| Error::internal("a lease without a connection"))?;
        let subject = self.connection_subject(&connection).await?;
        let is_holder = actor.to_ref().id.as_deref() == Some(record.lease.holder.id());
        let facts = Facts { is_holder, ..Facts::default() };
        self.allow_with(actor, organization, Action::LeaseEnd, &subject, facts).await?;
        if matches!(record.lease.state, LeaseState::Ending { .. } | LeaseState::Ended { .. }) {
            return Ok(());
        }
        self.leases.forget_holder(record.lease.holder.id());
        self.end_one(record, EndReason::Revoked).await?;
        self.record(actor, Some(organization), ended(id, EndReason::Revoked)).await?;
        self.jobs.ring_leases();
        Ok(())
    }

    /// Ends every lease of a job or workload that is over. The sweeper takes back what was minted.
    pub(crate) async fn end_leases_of_holder(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        holder: &str,
    ) -> Result<()> {
        self.leases.forget_holder(holder);
        let reason = EndReason::HolderEnded;
        let now = self.clock.now();
        let ended = leases::end_by_holder(&self.store, organization, holder, reason, now)
            .await
            .map_err(store_failed)?;
        self.record_ends(actor, &ended, reason).await
    }

    /// Ends every lease of a connection that is deleted or whose credential is gone.
    pub(crate) async fn end_leases_of_connection(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        connection: &ConnectionId,
    ) -> Result<()> {
        self.leases.forget_connection(connection);
        let reason = EndReason::ConnectionEnded;
        let now = self.clock.now();
        let ended = leases::end_by_connection(&self.store, organization, connection, reason, now)
            .await
            .map_err(store_failed)?;
        self.record_ends(actor, &ended, reason).await
    }

    /// Ends what is due and takes back what was minted. Called by the server's loop; returns how
    /// many leases were touched, so that the loop knows whether to go on at once.
    pub async fn sweep_leases(&self, actor: &Actor) -> Result<usize> {
        let now = self.clock.now();
        let expired = leases::end_expired(&self.store, now, BATCH).await.map_err(store_failed)?;
        for record in &expired {
            self.leases.forget_holder(record.lease.holder.id());
        }
        self.record_ends(actor, &expired, EndReason::Expired).await?;
        let abandoned = leases::end_abandoned(&self.store, now.minus(ABANDONED), now, BATCH)
            .await
            .map_err(store_failed)?;
        self.record_ends(actor, &abandoned, EndReason::MintFailed).await?;

        let due = leases::claim_due(&self.store, now, now.plus(CLAIM), BATCH)
            .await
            .map_err(store_failed)?;
        let count = expired.len() + abandoned.len() + due.len();
        let mut revoking =
            futures::stream::iter(due.into_iter().map(|record| self.take_back(actor, record)))
                .buffer_unordered(AT_ONCE);
        while let Some(outcome) = revoking.next().await {
            outcome?;
        }
        Ok(count)
    }

    /// Writes down that leases ended, and has what was minted for them taken back soon.
    pub(crate) async fn record_ends(
        &self,
        actor: &Actor,
        records: &[LeaseRecord],
        reason: EndReason,
    ) -> Result<()> {
        let writes = records.iter().map(|record| {
            self.record(actor, Some(&record.lease.organization), ended(&record.lease.id, reason))
        });
        futures::future::try_join_all(writes).await?;
        if records.iter().any(|record| record.lease.handle.is_some()) {
            self.jobs.ring_leases();
        }
        Ok(())
    }

    /// Starts the end of one lease.
    pub(super) async fn end_one(&self, mut record: LeaseRecord, reason: EndReason) -> Result<()> {
        let now = self.clock.now();
        record.lease = record.lease.end(now, reason).map_err(Error::internal)?;
        record.due_at = matches!(record.lease.state, LeaseState::Ending { .. }).then_some(now);
        match leases::update(&self.store, &record).await {
            // Somebody else ended it at the same moment.
            Ok(_) | Err(keyferry_store::StoreError::Stale { .. }) => Ok(()),
            Err(error) => Err(store_failed(error)),
        }
    }

    /// Takes back at once what was minted for a lease that ended while it was minted. A failure is
    /// left to the sweeper, which finds the row.
    pub(super) async fn take_back_now(&self, opened: &Opened, lease: &Lease) {
        let Some(handle) = &lease.handle else { return };
        let outcome =
            opened.provider.revoke(&self.outside, opened.target(), &lease.narrowing, handle).await;
        if let Err(error) = outcome {
            tracing::error!(lease = %lease.id, ?error, "take back what was minted for an ended lease");
        }
    }

    /// Takes back what was minted for a claimed lease, or plans the next try.
    async fn take_back(&self, actor: &Actor, mut record: LeaseRecord) -> Result<()> {
        let now = self.clock.now();
        if self.leases.is_minting(&record.lease.id) {
            record.due_at = Some(now.plus(Duration::from_secs(1)));
            return self.save_lease(&record).await;
        }
        let LeaseState::Ending { since, .. } = record.lease.state else { return Ok(()) };
        let target = Target::new("lease", &record.lease.id);
        let organization = record.lease.organization.clone();
        match self.revoke_at_service(&record.lease).await {
            Ok(left) => {
                let residue = left.or_else(|| record.lease.residue.clone());
                record.lease = record.lease.finish(now, residue).map_err(Error::internal)?;
                record.lease.last_error = None;
                record.due_at = None;
                self.save_lease(&record).await?;
                self.record(actor, Some(&organization), Event::done("lease.revoke", target)).await
            }
            Err(reason) if now.since(since) >= GIVE_UP => {
                let handle = record.lease.handle.clone().unwrap_or_default();
                let what = format!("`{handle}` could not be taken back: {reason}");
                let residue = Residue { what, until: None };
                record.lease = record.lease.finish(now, Some(residue)).map_err(Error::internal)?;
                record.lease.last_error = Some(reason.clone());
                record.due_at = None;
                self.save_lease(&record).await?;
                let event = Event::failed("lease.revoke", target, &reason);
                self.record(actor, Some(&organization), event).await
            }
            Err(reason) => {
                tracing::warn!(lease = %record.lease.id, reason, "a lease cannot be taken back yet");
                record.lease.attempts += 1;
                record.lease.last_error = Some(reason);
                record.due_at = Some(next_try(now, record.lease.attempts));
                self.save_lease(&record).await
            }
        }
    }

    async fn save_lease(&self, record: &LeaseRecord) -> Result<()> {
        leases::update(&self.store, record).await.map(drop).map_err(store_failed)
    }

    /// Asks the service to take back what was minted: with the version of the credential that
    /// minted it while there is one, else with the present one.
    async fn revoke_at_service(&self, lease: &Lease) -> Result<Option<Residue>, String> {
        let Some(handle) = &lease.handle else { return Ok(None) };
        let connection =
            connections::find_with_deleted(&self.store, &lease.organization, &lease.connection)
                .await
                .map_err(|error| error.to_string())?
                .ok_or("the connection is not known any more")?;
        let credential =
            self.credential_of(&connection).await.map_err(|error| error.message().to_owned())?;
        let mut tries = vec![(credential.clone(), credential.current_number)];
        if let Some(minted_with) = self.minted_with(lease, credential).await? {
            tries.push((minted_with, lease.credential_version));
        }
        let mut reason = "the credential was wiped".to_owned();
        for (credential, number) in tries {
            let Ok(opened) = self.open_version(connection.clone(), &credential, number).await
            else {
                continue;
            };
            let outcome = opened
                .provider
                .revoke(&self.outside, opened.target(), &lease.narrowing, handle)
                .await;
            match outcome {
                Ok(left) => return Ok(left),
                Err(error @ ProviderError::Rejected { .. }) => reason = error.to_string(),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(reason)
    }

    /// Returns the credential that a lease was minted with, when its version then is not the
    /// present one. One that the connection does not stand on any more is sent to the connection's
    /// address only if its owner has put the present one there too: nobody else may choose where a
    /// person's secret goes.
    async fn minted_with(
        &self,
        lease: &Lease,
        present: CredentialRecord,
    ) -> Result<Option<CredentialRecord>, String> {
        if present.id == lease.credential {
            let is_replaced = lease.credential_version != present.current_number;
            return Ok(is_replaced.then_some(present));
        }
        let before =
            credentials::find_with_deleted(&self.store, &lease.organization, &lease.credential)
                .await
                .map_err(|error| error.to_string())?;
        Ok(before.filter(|before| before.owner_id == present.owner_id))
    }
}

pub(super) fn ended(id: &LeaseId, reason: EndReason) -> Event {
    Event::done("lease.end", Target::new("lease", id)).with("reason", reason)
}

/// Doubles the wait with each try, from two seconds on.
fn next_try(now: Timestamp, attempts: i64) -> Timestamp {
    let exponent = u32::try_from(attempts.clamp(1, 20)).unwrap_or(20);
    let wait = Duration::from_secs(2_u64.saturating_pow(exponent)).min(LONGEST_WAIT);
    now.plus(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_ever_later_but_never_stop() {
        let now = Timestamp::from_millis(0);
        let waits: Vec<u64> =
            [1, 2, 3, 9, 10, 1_000].map(|n| next_try(now, n).since(now).as_secs()).to_vec();
        assert_eq!(waits, [2, 4, 8, 512, 900, 900]);
    }
}
