//! Issuing: decide, write down, mint, hand over.
//!
//! The order is the promise. The audit event, and the lease row with the handle under which the
//! service will know what is minted, are durable before the service is asked and before any answer
//! leaves. Whatever goes wrong after that, the sweeper finds the row.
//!
//! Between the row and the mint the database is asked once more whether the holder may still have
//! it. Whoever ends a holder or a connection ends the leases that can be seen then: so whichever of
//! the two comes first, the other sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{LeaseId, OrganizationId};
use keyferry_domain::lease::{EndReason, Holder, Lease, LeaseState};
use keyferry_domain::operation::Operation;
use keyferry_domain::{Actor, Error, Result, Timestamp};
use keyferry_policy::{Action, Facts};
use keyferry_providers::ProviderError;
use keyferry_providers::provider::{Plan, Settings};
use keyferry_store::leases::LeaseRecord;
use keyferry_store::{connections, leases};

use super::IssuedLease;
use super::cache::MaterialKey;
use super::holder::HolderContext;
use super::reach::Reach;
use crate::Broker;
use crate::audit::Event;
use crate::failure::{provider_failed, store_failed};
use crate::opened::Opened;

/// How long a lease lives when nobody ends it. A holder that needs longer asks again.
const LIFETIME: Duration = Duration::from_hours(1);

/// Nothing that is handed over has less than this to live.
const LEAST_LIFE: Duration = Duration::from_mins(1);

impl Broker {
    /// Issues access through a connection to the calling job or workload. Asking again for the
    /// same gives the same lease, as long as it has a minute to live.
    pub async fn issue_lease(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        connection: &ConnectionId,
        operation: &Operation,
    ) -> Result<IssuedLease> {
        match self.issue_once(actor, organization, connection, operation).await {
            // Another server has put something else into the connection; that is known by now.
            Err(error) if error.code() == "connection_changed" => {
                self.issue_once(actor, organization, connection, operation).await
            }
            outcome => outcome,
        }
    }

    async fn issue_once(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        connection: &ConnectionId,
        operation: &Operation,
    ) -> Result<IssuedLease> {
        let generation = self.leases.generation();
        let context = self.holder_context(actor).await?;
        if actor_organization(actor) != Some(organization) {
            return Err(Error::not_found(format!("organization `{organization}`")));
        }
        let reach = match context.reach(connection) {
            Ok(reach) => reach,
            Err(refusal) => {
                let error = refusal.to_error();
                return Err(self.refuse_lease(actor, organization, connection, error).await?);
            }
        };
        if let Err(error) = reach.check(operation) {
            return Err(self.refuse_lease(actor, organization, connection, error).await?);
        }
        let key = MaterialKey {
            holder: context.holder.id().to_owned(),
            connection: connection.clone(),
            credential: reach.connection.credential_id.clone(),
            credential_version: reach.credential_version,
            operation: operation.clone(),
        };
        if let Some(known) = self.leases.material.get(&key).await {
            let has_time = known.expires_at >= self.clock.now().plus(LEAST_LIFE);
            if has_time && !context.is_cut_short(&known.id) {
                return self.hand_over_again(actor, organization, known).await;
            }
            self.leases.material.invalidate(&key).await;
        }
        // Whoever asks at the same time waits for this one mint, and is recorded by itself.
        let is_mine = AtomicBool::new(false);
        // On the heap, so that the way of those who find something kept stays small.
        let minting = Box::pin(async {
            is_mine.store(true, Ordering::SeqCst);
            self.issue_new(actor, organization, &context, reach, operation).await
        });
        let issued = self.leases.material.try_get_with(key.clone(), minting).await;
        match (issued, is_mine.into_inner()) {
            (Ok(issued), true) => {
                // What was ended meanwhile could not be forgotten yet: it was not there.
                if self.leases.generation() != generation {
                    self.leases.material.invalidate(&key).await;
                }
                Ok(issued)
            }
            (Ok(issued), false) => self.hand_over_again(actor, organization, issued).await,
            (Err(error), true) => Err(unwrap_shared(error)),
            (Err(error), false) => {
                let error = unwrap_shared(error);
                let event = Event::failed("lease.issue", lease_target(connection), error.message());
                self.record(actor, Some(organization), event).await?;
                Err(error)
            }
        }
    }

    async fn hand_over_again(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        issued: IssuedLease,
    ) -> Result<IssuedLease> {
        let event = Event::done("lease.issue", Target::new("lease", &issued.id))
            .with("connection", &issued.connection)
            .with("from_cache", "true");
        self.record(actor, Some(organization), event).await?;
        Ok(issued)
    }

    async fn refuse_lease(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        connection: &ConnectionId,
        error: Error,
    ) -> Result<Error> {
        let event = Event::refused("lease.issue", lease_target(connection), error.message())
            .with("code", error.code());
        self.record(actor, Some(organization), event).await?;
        Ok(error)
    }

    async fn issue_new(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        context: &HolderContext,
        reach: &Reach,
        operation: &Operation,
    ) -> Result<IssuedLease> {
        let id = LeaseId::generate(&*self.clock, &*self.random);
        let connection = &reach.connection;
        let subject = self.connection_subject(connection).await?;
        let facts = Facts { is_bound: true, ..Facts::default() };
        self.allow_with(actor, organization, Action::LeaseIssue, &subject, facts).await?;
        let credential = self.credential_of(connection).await?;
        let opened =
            self.open_version(connection.clone(), &credential, reach.credential_version).await?;
        let planned = opened.provider.plan(opened.target(), operation, id.as_str());
        let plan = match planned {
            Ok(plan) => plan,
            Err(error) => {
                let error = provider_failed(error);
                return Err(self.refuse_lease(actor, organization, &connection.id, error).await?);
            }
        };
        let now = self.clock.now();
        let expires_at =
            context.ends_at.map_or(now.plus(LIFETIME), |end| end.min(now.plus(LIFETIME)));
        if expires_at < now.plus(LEAST_LIFE) {
            let error = Error::denied("holder_ends", "less than a minute is left to the workload");
            return Err(self.refuse_lease(actor, organization, &connection.id, error).await?);
        }
        let lease = Lease {
            id: id.clone(),
            organization: organization.clone(),
            connection: connection.id.clone(),
            credential: credential.id.clone(),
            credential_version: opened.credential_version,
            holder: context.holder.clone(),
            operation: operation.clone(),
            narrowing: plan.narrowing.clone(),
            handle: plan.handle.clone(),
            settings: match plan.handle {
                Some(_) => connection.settings.clone(),
                None => Settings::new(),
            },
            issued_at: now,
            expires_at,
            handed_over_at: None,
            state: LeaseState::Pending,
            residue: None,
            attempts: 0,
            last_error: None,
        };
        let mut event = Event::done("lease.issue", Target::new("lease", &id))
            .with("connection", &connection.id)
            .with("operation", operation)
            .with("narrowing", &plan.narrowing)
            .with("credential_version", opened.credential_version);
        if let Some(isolation) = context.isolation {
            event = event.with("isolation", isolation);
        }
        let mark = self.leases.mark_minting(&id);
        self.record_with_lease(actor, Some(organization), event, Some(lease.clone())).await?;
        if let Err(error) = self.check_still_given(organization, context, reach, operation).await {
            return Err(self.refuse_written_down(actor, lease, error).await?);
        }
        let outcome = self.mint(actor, &opened, operation, &plan, lease).await;
        drop(mark);
        let issued = outcome?;
        self.note_use(organization, connection, now).await;
        Ok(issued)
    }

    /// Finds out anew, past all memory, whether the holder may have what is about to be minted.
    async fn check_still_given(
        &self,
        organization: &OrganizationId,
        context: &HolderContext,
        reach: &Reach,
        operation: &Operation,
    ) -> Result<()> {
        let context = match &context.holder {
            Holder::Job { run, job } => self.job_context(organization, run, job).await?,
            Holder::Workload { workload } => self.workload_context(organization, workload).await?,
        };
        let fresh = context.reach(&reach.connection.id).map_err(|refusal| refusal.to_error())?;
        fresh.check(operation)?;
        let is_same = fresh.credential_version == reach.credential_version
            && fresh.connection.credential_id == reach.connection.credential_id
            && fresh.connection.settings == reach.connection.settings;
        if is_same {
            Ok(())
        } else {
            Err(Error::conflict("connection_changed", "the connection was changed at this moment")
                .hint("try again"))
        }
    }

    /// Ends a lease for which nothing has been minted and never will be.
    async fn refuse_written_down(
        &self,
        actor: &Actor,
        lease: Lease,
        error: Error,
    ) -> Result<Error> {
        self.leases.forget();
        let target = Target::new("lease", &lease.id);
        let reason = match error.code() {
            "job_over" | "workload_over" => EndReason::HolderEnded,
            _ => EndReason::ConnectionEnded,
        };
        let event =
            Event::refused("lease.mint", target, error.message()).with("code", error.code());
        self.commit_failed_mint(actor, &self.unminted(lease, reason)?, event).await?;
        Ok(error)
    }

    /// Asks the service, and marks the lease as handed over. The row exists already.
    async fn mint(
        &self,
        actor: &Actor,
        opened: &Opened,
        operation: &Operation,
        plan: &Plan,
        lease: Lease,
    ) -> Result<IssuedLease> {
        let id = lease.id.clone();
        let lifetime = lease.expires_at.since(lease.issued_at);
        let asked =
            opened.provider.issue(&self.outside, opened.target(), operation, plan, lifetime).await;
        let issued = match asked {
            Ok(issued) => issued,
            Err(error) => {
                let reason = EndReason::MintFailed;
                let is_rejected = matches!(error, ProviderError::Rejected { .. });
                let record = if is_rejected {
                    self.unminted(lease, reason)?
                } else {
                    // The answer may have been lost after the token was made: the row says so.
                    self.ending(LeaseRecord::new(lease), reason)?
                };
                let mut failure = provider_failed(error.clone());
                if is_rejected {
                    let id = &opened.connection.id;
                    failure = failure.hint(format!(
                        "replace the credential inside the connection with \
                         `keyferry connection reconfigure {id}`"
                    ));
                }
                let target = Target::new("lease", &id);
                let event = Event::failed("lease.mint", target, failure.message());
                self.commit_failed_mint(actor, &record, event).await?;
                self.note_rejection(actor, opened, &error).await;
                return Err(failure);
            }
        };
        let mut record =
            LeaseRecord::new(lease.activate(self.clock.now()).map_err(Error::internal)?);
        record.lease.residue = issued.residue;
        record.lease.expires_at = issued
            .expires_at
            .map_or(record.lease.expires_at, |end: Timestamp| end.min(record.lease.expires_at));
        if let Err(error) = leases::update(&self.store, &record).await {
            // The holder ended meanwhile, or the database is gone: what was minted must not stay.
            if plan.handle.is_some() {
                self.take_back_now(opened, &record.lease).await;
            }
            return Err(store_failed(error));
        }
        Ok(IssuedLease {
            id,
            connection: opened.connection.id.clone(),
            connection_type: opened.provider.kind().id,
            narrowing: record.lease.narrowing,
            expires_at: record.lease.expires_at,
            material: Arc::new(issued.material),
        })
    }

    /// Writes down that a connection was used; only for people's eyes, so a failure is logged.
    async fn note_use(
        &self,
        organization: &OrganizationId,
        connection: &connections::ConnectionRecord,
        now: Timestamp,
    ) {
        let is_recent = connection.last_used_at.is_some_and(|used| now.since(used).as_secs() < 60);
        if is_recent {
            return;
        }
        if let Err(error) = connections::touch(&self.store, organization, &connection.id, now).await
        {
            tracing::warn!(?error, connection = %connection.id, "note the use of a connection");
        }
    }
}

fn lease_target(connection: &ConnectionId) -> Target {
    Target::new("connection", connection)
}

/// Returns the organization of a job or workload.
fn actor_organization(actor: &Actor) -> Option<&OrganizationId> {
    use keyferry_domain::actor::Identity;
    match &actor.identity {
        Identity::Job { organization, .. } | Identity::Workload { organization, .. } => {
            Some(organization)
        }
        _ => None,
    }
}

/// Makes an error of one's own from an error that several callers wait for.
fn unwrap_shared(error: Arc<Error>) -> Error {
    Arc::try_unwrap(error).unwrap_or_else(|shared| shared.to_shared())
}
