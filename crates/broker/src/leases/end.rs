//! Ending leases: by hand, and with their holder or connection. What was minted for them is taken
//! back by the sweeper, in `revoke`.
//!
//! A holder or connection and its leases end in one change with the events that tell of it, so that
//! a crash leaves no lease of what is over. What is forgotten of it comes after that.

use keyferry_domain::actor::Identity;
use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{LeaseId, OrganizationId};
use keyferry_domain::lease::{EndReason, Lease, LeaseState};
use keyferry_domain::{Actor, Error, ErrorKind, Result, Timestamp};
use keyferry_policy::{Action, Facts};
use keyferry_store::connections::ConnectionRecord;
use keyferry_store::leases::LeaseRecord;
use keyferry_store::{Change, On, StoreError, connections, leases};

use super::view::no_lease;
use crate::Broker;
use crate::audit::{Event, Told};
use crate::failure::store_failed;

/// How often the end of one lease is tried. A live lease changes once, when it is handed over: what
/// is more is a margin.
const TRIES: usize = 4;

/// Whose leases end.
#[derive(Debug, Clone)]
pub(crate) enum LeasesOf {
    /// Those of a job or workload that is over.
    Holder(String),
    /// Those of a connection that was deleted, or leads elsewhere now.
    Connection(ConnectionId),
}

/// The leases that a change has ended, because their holder or connection ended in it.
#[derive(Debug)]
pub(crate) struct EndedLeases {
    organization: OrganizationId,
    of: LeasesOf,
    leases: Vec<LeaseRecord>,
}

impl EndedLeases {
    /// Ends them, as a part of `change`.
    pub(crate) async fn within(
        change: &mut Change,
        organization: &OrganizationId,
        of: LeasesOf,
        now: Timestamp,
    ) -> Result<Self> {
        let reason = of.reason();
        let leases = match &of {
            LeasesOf::Holder(id) => {
                leases::end_by_holder(change, organization, id, reason, now).await
            }
            LeasesOf::Connection(id) => {
                leases::end_by_connection(change, organization, id, reason, now).await
            }
        }
        .map_err(store_failed)?;
        Ok(Self { organization: organization.clone(), of, leases })
    }
}

impl LeasesOf {
    const fn reason(&self) -> EndReason {
        match self {
            Self::Holder(_) => EndReason::HolderEnded,
            Self::Connection(_) => EndReason::ConnectionEnded,
        }
    }
}

impl Broker {
    /// Ends a lease by hand: by its holder, or by someone who looks after the connection.
    pub async fn end_lease(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &LeaseId,
    ) -> Result<()> {
        let (record, _) = self.lease_to_end(actor, organization, id).await?;
        self.end_by_hand(actor, record, ended(id, EndReason::Revoked), EndReason::Revoked).await
    }

    /// Finds a lease that the actor may end, with its connection, deleted or not. A lease that is
    /// hidden from them is named like one that does not exist, and machines see only their own.
    pub(super) async fn lease_to_end(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &LeaseId,
    ) -> Result<(LeaseRecord, ConnectionRecord)> {
        let record = self.find_lease(organization, id).await?;
        let connection =
            connections::find_with_deleted(&self.store, organization, &record.lease.connection)
                .await
                .map_err(store_failed)?
                .ok_or_else(|| Error::internal("a lease without a connection"))?;
        let subject = self.connection_subject(&connection).await?;
        let is_holder = actor.to_ref().id.as_deref() == Some(record.lease.holder.id());
        let facts = Facts { is_holder, ..Facts::default() };
        let is_other_machine = !is_holder && !matches!(actor.identity, Identity::User { .. });
        match self.allow_with(actor, organization, Action::LeaseEnd, &subject, facts).await {
            Ok(()) => Ok((record, connection)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(no_lease(id)),
            Err(error) if error.kind() == ErrorKind::Denied && is_other_machine => {
                Err(no_lease(id))
            }
            Err(error) => Err(error),
        }
    }

    /// Ends a lease that somebody has found, unless it has ended by itself. `Ok` means that it is
    /// ending or ended.
    pub(super) async fn end_by_hand(
        &self,
        actor: &Actor,
        mut record: LeaseRecord,
        event: Event,
        reason: EndReason,
    ) -> Result<()> {
        // First, so that nothing of this lease is handed over again once it has ended.
        self.leases.forget_holder(record.lease.holder.id());
        let organization = record.lease.organization.clone();
        for _ in 0..TRIES {
            if !matches!(record.lease.state, LeaseState::Pending | LeaseState::Active) {
                return Ok(());
            }
            let ending = self.ending(record, reason)?;
            let mut change = self.store.begin().await.map_err(store_failed)?;
            if save_lease(&mut change, &ending).await? {
                self.commit(change, actor, Some(&organization), event).await?;
                self.jobs.ring_leases();
                return Ok(());
            }
            drop(change);
            // Ended by somebody else, or handed over at this moment and alive.
            record = self.find_lease(&organization, &ending.lease.id).await?;
        }
        Err(Error::internal("a lease that changes again and again and does not end"))
    }

    /// Commits a change in which holders or connections ended, with the events that tell of it and
    /// of the end of their leases. Then what is known of them is forgotten, and what was minted for
    /// them is taken back soon.
    pub(crate) async fn commit_ends<'o>(
        &self,
        change: Change,
        actor: &Actor,
        mut events: Vec<Told<'o>>,
        ended: &'o [EndedLeases],
    ) -> Result<()> {
        for ended in ended {
            events.extend(ends(&ended.leases, ended.of.reason()));
        }
        let outcome = self.commit_all(change, actor, events).await;
        for EndedLeases { of, .. } in ended {
            // Also after an error: it may be durable all the same.
            match of {
                LeasesOf::Holder(id) => self.leases.forget_holder(id),
                LeasesOf::Connection(id) => self.leases.forget_connection(id),
            }
        }
        outcome?;
        for ended in ended {
            self.ring_for(&ended.leases);
            self.end_late(actor, ended).await?;
        }
        Ok(())
    }

    /// Ends what came after: on PostgreSQL a lease can be written down by somebody who did not see
    /// the change yet, and whom the change did not see. SQLite has one writer.
    async fn end_late(&self, actor: &Actor, ended: &EndedLeases) -> Result<()> {
        if self.store.is_embedded() {
            return Ok(());
        }
        let EndedLeases { organization, of, .. } = ended;
        let now = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let late = EndedLeases::within(&mut change, organization, of.clone(), now).await?;
        if !late.leases.is_empty() {
            self.commit_all(change, actor, ends(&late.leases, of.reason()).collect()).await?;
            self.ring_for(&late.leases);
        }
        Ok(())
    }

    /// Has what was minted for leases that have ended taken back soon.
    pub(super) fn ring_for(&self, records: &[LeaseRecord]) {
        if records.iter().any(|record| record.lease.handle.is_some()) {
            self.jobs.ring_leases();
        }
    }

    /// Starts the end of one lease: what was minted for it is due to be taken back now.
    pub(super) fn ending(&self, mut record: LeaseRecord, reason: EndReason) -> Result<LeaseRecord> {
        let now = self.clock.now();
        record.lease = record.lease.end(now, reason).map_err(Error::internal)?;
        record.due_at = matches!(record.lease.state, LeaseState::Ending { .. }).then_some(now);
        Ok(record)
    }

    /// Ends a lease that was written down just now and for which nothing was minted.
    pub(super) fn unminted(&self, lease: Lease, reason: EndReason) -> Result<LeaseRecord> {
        let now = self.clock.now();
        let mut lease = lease.end(now, reason).map_err(Error::internal)?;
        if matches!(lease.state, LeaseState::Ending { .. }) {
            lease = lease.finish(now, None).map_err(Error::internal)?;
        }
        Ok(LeaseRecord::new(lease))
    }

    /// Commits the end of a lease whose mint came to nothing, with the event that tells why. Where
    /// the lease has been ended by somebody else, the event alone is written down.
    pub(super) async fn commit_failed_mint(
        &self,
        actor: &Actor,
        record: &LeaseRecord,
        event: Event,
    ) -> Result<()> {
        let organization = Some(&record.lease.organization);
        let mut change = self.store.begin().await.map_err(store_failed)?;
        if save_lease(&mut change, record).await? {
            return self.commit(change, actor, organization, event).await;
        }
        // On SQLite the transaction holds the one writer, which the record needs.
        drop(change);
        self.record(actor, organization, event).await
    }
}

/// Writes a lease; `false` when somebody else has changed it since it was read.
pub(super) async fn save_lease(on: impl Into<On<'_>>, record: &LeaseRecord) -> Result<bool> {
    match leases::update(on, record).await {
        Ok(_) => Ok(true),
        Err(StoreError::Stale { .. }) => Ok(false),
        Err(error) => Err(store_failed(error)),
    }
}

/// The events of leases that a change has ended, each in the record of its organization.
pub(super) fn ends(records: &[LeaseRecord], reason: EndReason) -> impl Iterator<Item = Told<'_>> {
    records
        .iter()
        .map(move |record| (Some(&record.lease.organization), ended(&record.lease.id, reason)))
}

pub(super) fn ended(id: &LeaseId, reason: EndReason) -> Event {
    Event::done("lease.end", Target::new("lease", id)).with("reason", reason)
}
