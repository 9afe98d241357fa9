//! Ending leases: by hand, and with their holder or connection. What was minted for them is taken
//! back by the sweeper, in `revoke`.
//!
//! A holder or connection and its leases end in one change, so that a crash leaves no lease of what
//! is over. What is forgotten and recorded about it comes after that.

use keyferry_domain::actor::Identity;
use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{LeaseId, OrganizationId};
use keyferry_domain::lease::{EndReason, Lease, LeaseState};
use keyferry_domain::{Actor, Error, ErrorKind, Result};
use keyferry_policy::{Action, Facts};
use keyferry_store::connections::ConnectionRecord;
use keyferry_store::leases::LeaseRecord;
use keyferry_store::{StoreError, connections, leases};

use super::view::no_lease;
use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;

impl Broker {
    /// Ends a lease by hand: by its holder, or by someone who looks after the connection.
    pub async fn end_lease(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &LeaseId,
    ) -> Result<()> {
        let (record, _) = self.lease_to_end(actor, organization, id).await?;
        if matches!(record.lease.state, LeaseState::Ending { .. } | LeaseState::Ended { .. }) {
            return Ok(());
        }
        self.leases.forget_holder(record.lease.holder.id());
        if self.end_one(record, EndReason::Revoked).await? {
            self.record(actor, Some(organization), ended(id, EndReason::Revoked)).await?;
            self.jobs.ring_leases();
        }
        Ok(())
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

    /// Follows a change that ended a holder and these leases of it.
    pub(crate) async fn holder_ended(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        holder: &str,
        ended: &[LeaseRecord],
    ) -> Result<()> {
        self.leases.forget_holder(holder);
        let reason = EndReason::HolderEnded;
        self.record_ends(actor, ended, reason).await?;
        // On PostgreSQL a lease can be written down by somebody who did not see the change yet,
        // and that the change did not see.
        let now = self.clock.now();
        let late = leases::end_by_holder(&self.store, organization, holder, reason, now)
            .await
            .map_err(store_failed)?;
        self.record_ends(actor, &late, reason).await
    }

    /// Follows a change that ended a connection, or moved it, and these leases of it.
    pub(crate) async fn connection_ended(
        &self,
        actor: &Actor,
        connection: &ConnectionId,
        ended: &[LeaseRecord],
    ) -> Result<()> {
        self.leases.forget_connection(connection);
        self.record_ends(actor, ended, EndReason::ConnectionEnded).await
    }

    /// Writes down that leases ended, and has what was minted for them taken back soon.
    pub(crate) async fn record_ends(
        &self,
        actor: &Actor,
        records: &[LeaseRecord],
        reason: EndReason,
    ) -> Result<()> {
        if records.iter().any(|record| record.lease.handle.is_some()) {
            self.jobs.ring_leases();
        }
        let writes = records.iter().map(|record| {
            self.record(actor, Some(&record.lease.organization), ended(&record.lease.id, reason))
        });
        futures::future::try_join_all(writes).await.map(drop)
    }

    /// Starts the end of one lease; `false` when somebody else ended it at the same moment.
    pub(super) async fn end_one(&self, mut record: LeaseRecord, reason: EndReason) -> Result<bool> {
        let now = self.clock.now();
        record.lease = record.lease.end(now, reason).map_err(Error::internal)?;
        record.due_at = matches!(record.lease.state, LeaseState::Ending { .. }).then_some(now);
        self.save_lease(&record).await
    }

    /// Ends a lease that was written down just now and for which the service was never asked.
    pub(super) async fn end_unminted(&self, lease: Lease, reason: EndReason) -> Result<bool> {
        let now = self.clock.now();
        let mut lease = lease.end(now, reason).map_err(Error::internal)?;
        if matches!(lease.state, LeaseState::Ending { .. }) {
            lease = lease.finish(now, None).map_err(Error::internal)?;
        }
        self.save_lease(&LeaseRecord::new(lease)).await
    }

    /// Writes a lease; `false` when somebody else has changed it since it was read.
    pub(super) async fn save_lease(&self, record: &LeaseRecord) -> Result<bool> {
        match leases::update(&self.store, record).await {
            Ok(_) => Ok(true),
            Err(StoreError::Stale { .. }) => Ok(false),
            Err(error) => Err(store_failed(error)),
        }
    }
}

pub(super) fn ended(id: &LeaseId, reason: EndReason) -> Event {
    Event::done("lease.end", Target::new("lease", id)).with("reason", reason)
}
