//! The audit record: writing events, committing changes with theirs, listing, checking the chain.

use std::collections::BTreeMap;

use keyferry_domain::audit::{AuditEvent, ChainedEvent, Outcome, Target};
use keyferry_domain::id::{EventId, OrganizationId};
use keyferry_domain::lease::Lease;
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::{Actor, Result};
use keyferry_policy::Action;
use keyferry_store::audit::{AuditRecord, FIRST_HASH};
use keyferry_store::journal::Entry;
use keyferry_store::{Change, StoreError};
use keyferry_vault::link;

use crate::Broker;
use crate::access::{Subject, only_the_system};
use crate::failure::store_failed;

pub use keyferry_store::audit::AuditFilter;

/// An event, and the organization in whose record it is; the server's own without one.
pub(crate) type Told<'o> = (Option<&'o OrganizationId>, Event);

/// What is to be written down about one use case.
#[derive(Debug)]
pub(crate) struct Event {
    action: &'static str,
    target: Option<Target>,
    outcome: Outcome,
    reason: Option<String>,
    data: BTreeMap<String, String>,
}

impl Event {
    /// Something was done; `action` is `<noun>.<verb>`.
    pub(crate) fn done(action: &'static str, target: Target) -> Self {
        Self {
            action,
            target: Some(target),
            outcome: Outcome::Allowed,
            reason: None,
            data: BTreeMap::new(),
        }
    }

    /// Something was refused.
    pub(crate) fn refused(action: &'static str, target: Target, reason: &str) -> Self {
        let mut event = Self::done(action, target);
        event.outcome = Outcome::Refused;
        event.reason = Some(reason.to_owned());
        event
    }

    /// Something was allowed, and then it failed.
    pub(crate) fn failed(action: &'static str, target: Target, reason: &str) -> Self {
        let mut event = Self::done(action, target);
        event.outcome = Outcome::Failed;
        event.reason = Some(reason.to_owned());
        event
    }

    /// Adds what else is worth knowing; never a secret.
    pub(crate) fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.data.insert(name.to_owned(), format!("{value}"));
        self
    }
}

/// What a check of the whole record found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// Events that were read.
    pub events: u64,
    /// Chains: one for each server that has written.
    pub chains: u64,
    /// The hash of the last event, to compare with a copy kept elsewhere.
    pub last_hash: Option<String>,
    /// The first event that does not fit.
    pub first_broken: Option<BrokenEvent>,
}

/// An event that does not fit into its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenEvent {
    /// The chain.
    pub chain: String,
    /// The place in it.
    pub sequence: i64,
    /// What is wrong, fits after "the event …".
    pub reason: String,
}

impl Broker {
    /// Writes down something that changed nothing here, such as a refusal; returns when it is
    /// durable. No record, no answer.
    pub(crate) async fn record(
        &self,
        actor: &Actor,
        organization: Option<&OrganizationId>,
        event: Event,
    ) -> Result<()> {
        self.record_with_lease(actor, organization, event, None).await
    }

    /// Writes an event and a new lease down in one commit.
    pub(crate) async fn record_with_lease(
        &self,
        actor: &Actor,
        organization: Option<&OrganizationId>,
        event: Event,
        lease: Option<Lease>,
    ) -> Result<()> {
        let event = self.audit_event(actor, organization, event);
        self.journal.record(Entry { event, lease }).await.map_err(store_failed)?;
        Ok(())
    }

    /// Commits a change together with the event that tells of it: both are durable then, or neither.
    /// What follows from it in memory comes after this.
    pub(crate) async fn commit(
        &self,
        change: Change,
        actor: &Actor,
        organization: Option<&OrganizationId>,
        event: Event,
    ) -> Result<()> {
        self.commit_all(change, actor, vec![(organization, event)]).await
    }

    /// Like [`Self::commit`], for a change that several events tell of, each in the record of its
    /// organization; or none, where a job moves on and the event of its run has told of that.
    pub(crate) async fn commit_all(
        &self,
        change: Change,
        actor: &Actor,
        events: Vec<Told<'_>>,
    ) -> Result<()> {
        let events: Vec<AuditEvent> = events
            .into_iter()
            .map(|(organization, event)| self.audit_event(actor, organization, event))
            .collect();
        // Also after an error, and for a caller who goes away: it may be durable all the same.
        let _forget = self.leases.forget_at_the_end();
        if events.is_empty() {
            return change.commit().await.map_err(store_failed);
        }
        self.journal.commit(change, events).await.map(drop).map_err(store_failed)
    }

    fn audit_event(
        &self,
        actor: &Actor,
        organization: Option<&OrganizationId>,
        event: Event,
    ) -> AuditEvent {
        AuditEvent {
            id: EventId::generate(&*self.clock, &*self.random),
            organization: organization.cloned(),
            at: self.clock.now(),
            actor: actor.to_ref(),
            address: actor.address.map(|address| address.to_string()),
            request: actor.request.clone(),
            action: event.action.to_owned(),
            target: event.target,
            outcome: event.outcome,
            reason: event.reason,
            data: event.data,
        }
    }

    /// Lists events of an organization, newest first.
    pub async fn list_audit_events(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<ChainedEvent>> {
        self.allow(actor, organization, Action::AuditRead, &Subject::Organization).await?;
        let found = keyferry_store::audit::list(&self.store, Some(organization), filter, page)
            .await
            .map_err(store_failed)?;
        Ok(found.map(|record| ChainedEvent {
            sequence: record.sequence,
            event: record.event,
            previous_hash: record.previous_hash,
            hash: record.hash,
        }))
    }

    /// Checks every event of every chain, on the server's machine.
    pub async fn verify_audit_chain(&self, actor: &Actor) -> Result<AuditReport> {
        only_the_system(actor)?;
        let mut report = AuditReport { events: 0, chains: 0, last_hash: None, first_broken: None };
        let chains = keyferry_store::audit::chains(&self.store).await.map_err(store_failed)?;
        for chain in chains {
            report.chains += 1;
            let mut end = (0, FIRST_HASH.to_owned());
            loop {
                let events = match self.read_chain(&chain, end.0).await? {
                    Ok(events) if events.is_empty() => break,
                    Ok(events) => events,
                    Err(reason) => {
                        let sequence = end.0 + 1;
                        report.first_broken = Some(BrokenEvent { chain, sequence, reason });
                        return Ok(report);
                    }
                };
                for event in events {
                    if let Some(reason) = find_break(&event, &end) {
                        report.first_broken =
                            Some(BrokenEvent { chain, sequence: event.sequence, reason });
                        return Ok(report);
                    }
                    report.events += 1;
                    end = (event.sequence, event.hash);
                }
            }
            report.last_hash = Some(end.1);
        }
        Ok(report)
    }

    /// Reads what follows in a chain; the inner error tells why the very next event is unreadable.
    async fn read_chain(
        &self,
        chain: &str,
        after: i64,
    ) -> Result<std::result::Result<Vec<AuditRecord>, String>> {
        // Where one of many cannot be read, those before it are, one by one.
        for limit in [1_000, 1] {
            match keyferry_store::audit::read_chain(&self.store, chain, after, limit).await {
                Err(StoreError::Corrupt { column, .. }) if limit == 1 => {
                    return Ok(Err(format!(
                        "has a column `{column}` that does not say what was hashed"
                    )));
                }
                Err(StoreError::Corrupt { .. }) => {}
                read => return Ok(Ok(read.map_err(store_failed)?)),
            }
        }
        Ok(Ok(Vec::new()))
    }
}

/// Tells how an event does not fit after the end of its chain so far. That its columns say what
/// was hashed, the store has checked.
fn find_break(event: &AuditRecord, end: &(i64, String)) -> Option<String> {
    if event.sequence != end.0 + 1 {
        Some(format!("does not follow number {}: events are missing", end.0))
    } else if event.previous_hash != end.1 {
        Some("does not name the hash of the event before it".to_owned())
    } else if event.hash != link(&event.previous_hash, &event.canonical) {
        Some("has a hash that does not fit its content".to_owned())
    } else {
        None
    }
}
