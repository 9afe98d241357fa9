//! Taking back what was minted for leases that have ended: with their holder, when time is up, and
//! after a crash.
//!
//! What is due is claimed in the database, a little at a time and of each connection less, so that
//! a service that does not answer keeps nobody else waiting. It is taken back where it was minted
//! and first with the credential that minted it.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use keyferry_domain::audit::Target;
use keyferry_domain::id::LeaseId;
use keyferry_domain::lease::{EndReason, Lease, LeaseState, Residue};
use keyferry_domain::{Actor, Error, Result, Timestamp};
use keyferry_providers::ProviderError;
use keyferry_store::leases::{ConnectionKey, LeaseRecord};
use keyferry_store::{connections, credentials, leases};

use super::end::{ends, save_lease};
use crate::Broker;
use crate::audit::Event;
use crate::connections::changes_address;
use crate::failure::store_failed;
use crate::opened::Opened;

/// No mint takes so long. A lease that was not handed over within it is taken for abandoned, and
/// what was asked for before is either there by then or never will be.
const ABANDONED: Duration = Duration::from_mins(1);

/// Revocations that are tried again are claimed for so long, so that no two servers try at once.
const CLAIM: Duration = Duration::from_mins(1);

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// After so long the rest is called residue: nobody can take it back any more.
const GIVE_UP: Duration = Duration::from_hours(7 * 24);

/// Leases that one sweep ends, for each reason.
const BATCH: u32 = 100;

/// Revocations at the same time, over all connections and through one.
const AT_ONCE: usize = 16;
const AT_ONCE_PER_CONNECTION: u32 = 2;

/// Revocations that one sweep starts at most, so that leases go on ending.
const MOST: usize = 1_000;

/// While services are waited for, what has become due is looked for so often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Broker {
    /// Ends what is due and takes back what was minted. Called by the server's loop; returns how
    /// many leases were touched, so that the loop knows whether to go on at once. One that cannot
    /// be taken back is logged and keeps no other.
    pub async fn sweep_leases(&self, actor: &Actor) -> Result<usize> {
        let touched = self.end_overdue(actor).await?;
        let mut revoking = FuturesUnordered::new();
        let mut busy: Vec<ConnectionKey> = Vec::new();
        let mut started = 0;
        loop {
            let free = AT_ONCE - revoking.len();
            let is_complete = busy.is_empty() || started >= MOST;
            let due = if free > 0 && started < MOST {
                let known = busy.clone();
                let mut claiming = pin!(self.claim_due(free, &known));
                // What is under way must go on meanwhile: it may hold the connection to the
                // database that the claim waits for.
                loop {
                    tokio::select! {
                        due = &mut claiming => break due,
                        Some(done) = revoking.next() => settle(&mut busy, done),
                    }
                }
            } else {
                Ok(Vec::new())
            };
            let due = match due {
                Ok(due) => due,
                Err(error) if revoking.is_empty() => return Err(error),
                Err(error) => {
                    tracing::error!(?error, "claim leases to take back");
                    Vec::new()
                }
            };
            started += due.len();
            for record in due {
                let key = (record.lease.organization.clone(), record.lease.connection.clone());
                busy.push(key.clone());
                revoking.push(async move {
                    let id = record.lease.id.clone();
                    (key, id, self.take_back(actor, record).await)
                });
            }
            if revoking.is_empty() {
                if is_complete {
                    return Ok(touched + started);
                }
                // What was left out as busy is not any more.
                continue;
            }
            tokio::select! {
                Some(done) = revoking.next() => settle(&mut busy, done),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    async fn claim_due(&self, limit: usize, busy: &[ConnectionKey]) -> Result<Vec<LeaseRecord>> {
        let now = self.clock.now();
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let until = now.plus(CLAIM);
        leases::claim_due(&self.store, now, until, limit, AT_ONCE_PER_CONNECTION, busy)
            .await
            .map_err(store_failed)
    }

    /// Ends leases whose time is up, and those that were never handed over.
    async fn end_overdue(&self, actor: &Actor) -> Result<usize> {
        let now = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let expired = leases::end_expired(&mut change, now, BATCH).await.map_err(store_failed)?;
        let abandoned = leases::end_abandoned(&mut change, now.minus(ABANDONED), now, BATCH)
            .await
            .map_err(store_failed)?;
        if expired.is_empty() && abandoned.is_empty() {
            return Ok(0);
        }
        let events = ends(&expired, EndReason::Expired);
        let events = events.chain(ends(&abandoned, EndReason::MintFailed));
        self.commit_all(change, actor, events.collect()).await?;
        for record in &expired {
            self.leases.forget_holder(record.lease.holder.id());
        }
        self.ring_for(&expired);
        self.ring_for(&abandoned);
        Ok(expired.len() + abandoned.len())
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
            return save_lease(&self.store, &record).await.map(drop);
        }
        let LeaseState::Ending { since, .. } = record.lease.state else { return Ok(()) };
        let target = Target::new("lease", &record.lease.id);
        let organization = record.lease.organization.clone();
        let surely_there = record.lease.issued_at.plus(ABANDONED);
        let event = match self.revoke_at_service(&record.lease).await {
            // What was asked for and never answered may still be made after this.
            Ok(_) if record.lease.handed_over_at.is_none() && now < surely_there => {
                record.due_at = Some(surely_there);
                return save_lease(&self.store, &record).await.map(drop);
            }
            Ok(left) => {
                let residue = left.or_else(|| record.lease.residue.clone());
                record.lease = record.lease.finish(now, residue).map_err(Error::internal)?;
                record.lease.last_error = None;
                record.due_at = None;
                Event::done("lease.revoke", target)
            }
            Err(reason) if now.since(since) >= GIVE_UP => {
                let handle = record.lease.handle.clone().unwrap_or_default();
                let what = format!("`{handle}` could not be taken back: {reason}");
                let residue = Residue { what, until: None };
                record.lease = record.lease.finish(now, Some(residue)).map_err(Error::internal)?;
                record.due_at = None;
                let event = Event::failed("lease.revoke", target, &reason);
                record.lease.last_error = Some(reason);
                event
            }
            Err(reason) => {
                tracing::warn!(lease = %record.lease.id, reason, "a lease cannot be taken back yet");
                record.lease.attempts += 1;
                record.lease.last_error = Some(reason);
                record.due_at = Some(next_try(now, record.lease.attempts));
                return save_lease(&self.store, &record).await.map(drop);
            }
        };
        let mut change = self.store.begin().await.map_err(store_failed)?;
        // Where another server was faster, it has told the record.
        if save_lease(&mut change, &record).await? {
            self.commit(change, actor, Some(&organization), event).await?;
        }
        Ok(())
    }

    /// Asks the service to take back what was minted.
    async fn revoke_at_service(&self, lease: &Lease) -> Result<Option<Residue>, String> {
        let Some(handle) = &lease.handle else { return Ok(None) };
        let mut refusal = "the credential was wiped".to_owned();
        let mut trouble = None;
        for opened in self.ways_to_take_back(lease).await? {
            let outcome = opened
                .provider
                .revoke(&self.outside, opened.target(), &lease.narrowing, handle)
                .await;
            match outcome {
                Ok(None) => return Ok(None),
                // What is left may be less when the better way can be gone again.
                Ok(left) if trouble.is_none() => return Ok(left),
                Ok(_) => {}
                Err(
                    error @ (ProviderError::Unavailable { .. } | ProviderError::RateLimited { .. }),
                ) => trouble = Some(error.to_string()),
                Err(error) => refusal = error.to_string(),
            }
        }
        Err(trouble.unwrap_or(refusal))
    }

    /// Returns how to ask, the best way first: as it was minted, which sends nothing anywhere it
    /// has not been; then as the connection is now, unless that leads elsewhere. Nobody's secret
    /// goes to an address that its owner did not put it to.
    async fn ways_to_take_back(&self, lease: &Lease) -> Result<Vec<Opened>, String> {
        let mut connection =
            connections::find_with_deleted(&self.store, &lease.organization, &lease.connection)
                .await
                .map_err(|error| error.to_string())?
                .ok_or("the connection is not known any more")?;
        let provider = keyferry_providers::find(&connection.connection_type)
            .ok_or("the connection's type is not known any more")?;
        let present =
            self.credential_of(&connection).await.map_err(|error| error.message().to_owned())?;
        let number = present.current_number;
        let mut ways = Vec::new();
        if !changes_address(provider.kind(), &lease.settings, &connection.settings) {
            let is_as_minted = present.id == lease.credential
                && number == lease.credential_version
                && connection.settings == lease.settings;
            if !is_as_minted {
                ways.extend(self.open_version(connection.clone(), &present, number).await.ok());
            }
        }
        let minting = if present.id == lease.credential {
            Some(present)
        } else {
            credentials::find_with_deleted(&self.store, &lease.organization, &lease.credential)
                .await
                .map_err(|error| error.to_string())?
        };
        if let Some(minting) = minting {
            connection.settings.clone_from(&lease.settings);
            let opened = self.open_version(connection, &minting, lease.credential_version).await;
            ways.extend(opened.ok());
        }
        ways.reverse();
        Ok(ways)
    }
}

/// Notes that a revocation is not under way any more, and logs why it could not be written down.
fn settle(busy: &mut Vec<ConnectionKey>, (key, id, outcome): (ConnectionKey, LeaseId, Result<()>)) {
    if let Some(place) = busy.iter().position(|other| *other == key) {
        busy.swap_remove(place);
    }
    if let Err(error) = outcome {
        tracing::error!(?error, lease = %id, "take back a lease");
    }
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
