//! Who asks for leases, and what they may have through each connection.
//!
//! For a job: the bindings of its pipeline, in the places of this job and of the sources it
//! downloads, for exactly the revision that runs. For a workload: the connections it was started
//! with, as long as its user may use them.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyferry_domain::actor::Identity;
use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{JobId, LeaseId, OrganizationId, RunId, WorkloadId};
use keyferry_domain::lease::Holder;
use keyferry_domain::operation::{Access, Operation, RepositoryPath};
use keyferry_domain::run::Isolation;
use keyferry_domain::{Actor, Error, ErrorKind, Result, Timestamp};
use keyferry_pipeline::{ConnectionPlan, Definition, JobKey, JobPlan, Purpose};
use keyferry_policy::{Action, Decision};
use keyferry_store::bindings::{BindingRecord, BindingState};
use keyferry_store::runs::RunRecord;
use keyferry_store::{
    StoreError, bindings, connections, jobs, leases, pipelines, runs, tokens, workloads,
};
use keyferry_vault::fingerprint;

use super::reach::{Reach, Right};
use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::runs::{read_plan, read_revision};

/// Why a connection that is named in a job gives it nothing.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
}

impl Refusal {
    fn from_error(error: &Error) -> Self {
        Self {
            code: error.code(),
            message: error.message().to_owned(),
            hint: error.details().hint.clone().unwrap_or_default(),
        }
    }

    pub(super) fn to_error(&self) -> Error {
        Error::new(ErrorKind::Denied, self.code, self.message.clone()).hint(self.hint.clone())
    }
}

/// A holder with everything that is needed to answer its questions.
pub(crate) struct HolderContext {
    /// The holder.
    pub(super) holder: Holder,
    /// When it ends at the latest.
    pub(super) ends_at: Option<Timestamp>,
    /// How a job is kept apart.
    pub(super) isolation: Option<Isolation>,
    reaches: BTreeMap<ConnectionId, Result<Reach, Refusal>>,
    /// The first place that is refused its connection, also when another place has it.
    refused: Option<Refusal>,
    /// Its leases that were ended before their time, by whichever server: what is remembered of
    /// them is not handed over again. Looked for by [`Broker::holder_context`] alone; what is about
    /// to be minted needs no such list.
    cut_short: Vec<LeaseId>,
}

impl HolderContext {
    /// Tells whether a lease of the holder was ended before its time. It never comes back to life.
    pub(super) fn is_cut_short(&self, lease: &LeaseId) -> bool {
        self.cut_short.contains(lease)
    }

    /// Returns what the holder may have through a connection.
    pub(super) fn reach(&self, connection: &ConnectionId) -> Result<&Reach, Refusal> {
        match self.reaches.get(connection) {
            Some(Ok(reach)) => Ok(reach),
            Some(Err(refusal)) => Err(refusal.clone()),
            None => Err(Refusal {
                code: "connection_not_bound",
                message: format!("connection `{connection}` is not bound here"),
                hint: match self.holder {
                    Holder::Job { .. } => {
                        "name it in the pipeline: in a source's certificate, or under \
                         `connections:` of a step"
                    }
                    Holder::Workload { .. } => {
                        "start the command with `keyferry exec -c <connection>`"
                    }
                }
                .to_owned(),
            }),
        }
    }

    /// Returns why a place of a job that is about to start is refused its connection: the job could
    /// not do what it says.
    pub(crate) fn first_refusal(&self) -> Option<String> {
        let refusal = self.refused.as_ref()?;
        Some(format!("{}; {}", refusal.message, refusal.hint))
    }

    /// Returns every connection that gives something.
    pub(crate) fn reaches(&self) -> impl Iterator<Item = &Reach> {
        self.reaches.values().filter_map(|reach| reach.as_ref().ok())
    }
}

impl Broker {
    /// Finds out what the caller may have, from memory where nothing has changed.
    pub(super) async fn holder_context(&self, actor: &Actor) -> Result<Arc<HolderContext>> {
        let (Identity::Job { .. } | Identity::Workload { .. }) = &actor.identity else {
            return Err(Error::denied("not_a_holder", "only jobs and workloads are given leases")
                .hint("run the command under `keyferry exec`, or in a pipeline"));
        };
        let id = actor.to_ref().id.unwrap_or_default();
        if let Some(context) = self.leases.holder(&id).await {
            return Ok(context);
        }
        let generation = self.leases.generation();
        let (mut context, organization) = match &actor.identity {
            Identity::Job { organization, run, job } => {
                (self.job_context(organization, run, job).await?, organization)
            }
            Identity::Workload { organization, workload } => {
                (self.workload_context(organization, workload).await?, organization)
            }
            _ => return Err(Error::internal("a holder that is neither job nor workload")),
        };
        let now = self.clock.now();
        context.cut_short = leases::list_cut_short(&self.store, organization, &id, now)
            .await
            .map_err(store_failed)?;
        let context = Arc::new(context);
        self.leases.keep_holder(generation, id, Arc::clone(&context)).await;
        Ok(context)
    }

    /// Returns when the calling job may change a repository by the service's own calls: where its
    /// bindings would give it a lease to push there.
    pub(crate) async fn check_job_may_change(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        connection: &ConnectionId,
        action: Action,
        repository: &RepositoryPath,
    ) -> Result<()> {
        let context = self.holder_context(actor).await?;
        let is_here = matches!(&actor.identity, Identity::Job { organization: own, .. }
            if own == organization);
        if !is_here {
            return Err(Error::not_found(format!("organization `{organization}`")));
        }
        let operation =
            Operation::Git { repository: Some(repository.clone()), access: Access::Write };
        let checked = match context.reach(connection) {
            Ok(reach) => reach.check(&operation),
            Err(refusal) => Err(refusal.to_error()),
        };
        if let Err(error) = checked {
            let target = Target::new("connection", connection);
            let event = Event::refused(action.as_str(), target, error.message())
                .with("code", error.code())
                .with("repository", repository);
            self.record(actor, Some(organization), event).await?;
            return Err(error);
        }
        Ok(())
    }

    /// Finds out what a job may have; fails when the job is over.
    pub(crate) async fn job_context(
        &self,
        organization: &OrganizationId,
        run_id: &RunId,
        job_id: &JobId,
    ) -> Result<HolderContext> {
        let job = jobs::find(&self.store, organization, job_id).await.map_err(store_failed)?;
        let job = job
            .filter(|job| !job.state.is_over())
            .ok_or_else(|| Error::denied("job_over", "the job is over"))?;
        let run = runs::find(&self.store, organization, run_id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::internal("a job without a run"))?;
        let holder = Holder::Job { run: run_id.clone(), job: job_id.clone() };
        // A refusal and no error: the job ends by it, where an error would come again and again.
        let refused = |named: &[ConnectionPlan], refusal: Refusal| HolderContext {
            holder: holder.clone(),
            ends_at: None,
            isolation: job.isolation,
            reaches: named.iter().map(|one| (one.id.clone(), Err(refusal.clone()))).collect(),
            refused: Some(refusal),
            cut_short: Vec::new(),
        };
        let plan = match read_plan(&job) {
            Ok(plan) => plan,
            Err(error) => return Ok(refused(&[], Refusal::from_error(&error))),
        };
        let definition = match self.definition_of(&run).await? {
            Ok(definition) => definition,
            Err(refusal) => return Ok(refused(&plan.connections, refusal)),
        };
        let fingerprints: BTreeMap<String, String> = definition
            .places()
            .into_iter()
            .map(|place| (place.path, fingerprint(&place.canonical)))
            .collect();
        let bound = bindings::list_by_pipeline(&self.store, organization, &run.pipeline_id)
            .await
            .map_err(store_failed)?;

        let mut reaches = BTreeMap::new();
        let mut refused = None;
        for named in &plan.connections {
            let checked = check_binding(&plan, named, &fingerprints, &bound);
            let added = match checked {
                Err(refusal) => Err(refusal),
                Ok(()) => self.job_reach(organization, &plan, named).await?,
            };
            if let Err(refusal) = &added {
                refused.get_or_insert_with(|| refusal.clone());
            }
            // One approved place is enough; what several approved places give adds up.
            match (reaches.get_mut(&named.id), added) {
                (Some(Ok(Reach { rights, .. })), Ok(reach)) => rights.extend(reach.rights),
                (Some(Ok(_)), Err(_)) => {}
                (_, added) => {
                    reaches.insert(named.id.clone(), added);
                }
            }
        }
        Ok(HolderContext {
            holder,
            ends_at: None,
            isolation: job.isolation,
            reaches,
            refused,
            cut_short: Vec::new(),
        })
    }

    /// Reads the revision that a run is of; the inner error tells why nothing of it can run.
    async fn definition_of(&self, run: &RunRecord) -> Result<Result<Definition, Refusal>> {
        let (organization, number) = (&run.organization_id, run.revision);
        let found =
            pipelines::find_revision(&self.store, organization, &run.pipeline_id, number).await;
        let unreadable = match found {
            Ok(Some(revision)) => match read_revision(&revision) {
                Ok(definition) => return Ok(Ok(definition)),
                Err(error) => error,
            },
            Ok(None) => Error::internal("a run without its revision"),
            Err(error @ StoreError::Corrupt { .. }) => store_failed(error),
            Err(error) => return Err(store_failed(error)),
        };
        tracing::error!(error = ?unreadable, run = %run.id, "read the revision of a run");
        Ok(Err(Refusal {
            code: "revision_unreadable",
            message: format!("revision {number} of the pipeline, which is to run, cannot be read"),
            hint: "open the pipeline, correct what is marked, save it, and start a new run"
                .to_owned(),
        }))
    }

    async fn job_reach(
        &self,
        organization: &OrganizationId,
        plan: &JobPlan,
        named: &ConnectionPlan,
    ) -> Result<Result<Reach, Refusal>> {
        let endpoint = named.source.as_deref().and_then(|source| {
            let mut sources = plan.sources.iter().chain(&plan.changed_sources);
            sources.find(|known| known.id == source).map(|known| known.endpoint.as_str())
        });
        self.reach_with(organization, &named.id, |connection, provider| {
            Right::of_place(named.purpose, endpoint, connection, provider)
        })
        .await
    }

    /// Finds out what a workload may have; fails when it has ended, or when the API token that it
    /// was started with is revoked.
    pub(super) async fn workload_context(
        &self,
        organization: &OrganizationId,
        id: &WorkloadId,
    ) -> Result<HolderContext> {
        let now = self.clock.now();
        let workload = workloads::find(&self.store, organization, id)
            .await
            .map_err(store_failed)?
            .filter(|workload| workload.ended_at.is_none() && workload.expires_at > now)
            .ok_or_else(workload_over)?;
        if let Some(token) = &workload.token_id {
            let token =
                tokens::find(&self.store, organization, token).await.map_err(store_failed)?;
            if token.is_none_or(|token| token.revoked_at.is_some()) {
                return Err(workload_over());
            }
        }
        let mut reaches = BTreeMap::new();
        for connection in &workload.connections {
            let mut reach =
                self.reach_with(organization, connection, |_, _| Right::Everything).await?;
            if let Ok(found) = &reach {
                let subject = self.connection_subject(&found.connection).await?;
                let decision = self
                    .explain(&workload.user_id, organization, Action::ConnectionUse, &subject)
                    .await?;
                if let Decision::Deny { who_can, .. } = &decision {
                    reach = Err(Refusal {
                        code: "connection_out_of_scope",
                        message: format!("connection `{connection}`: {}", decision.sentence()),
                        hint: format!("this can be changed by {}", who_can.join(", or by ")),
                    });
                }
            }
            reaches.insert(connection.clone(), reach);
        }
        Ok(HolderContext {
            holder: Holder::Workload { workload: id.clone() },
            ends_at: Some(workload.expires_at),
            isolation: None,
            reaches,
            refused: None,
            cut_short: Vec::new(),
        })
    }

    async fn reach_with(
        &self,
        organization: &OrganizationId,
        id: &ConnectionId,
        right: impl FnOnce(&connections::ConnectionRecord, &dyn keyferry_providers::Provider) -> Right,
    ) -> Result<Result<Reach, Refusal>> {
        let found = connections::find(&self.store, organization, id).await.map_err(store_failed)?;
        let Some(connection) = found else {
            return Ok(Err(deleted(id)));
        };
        let provider = keyferry_providers::find(&connection.connection_type)
            .ok_or_else(|| Error::internal("a connection of an unknown type"))?;
        let credential = self.credential_of(&connection).await?;
        let right = right(&connection, provider);
        Ok(Ok(Reach {
            connection,
            provider,
            credential_version: credential.current_number,
            rights: vec![right],
        }))
    }
}

fn workload_over() -> Error {
    Error::denied("workload_over", "the workload has ended")
}

/// Returns the path of a job's place, as `Definition::places` spells it.
fn job_place(key: &JobKey) -> String {
    let (stage, job) = key.as_str().split_once('.').unwrap_or((key.as_str(), ""));
    format!("stages.{stage}.jobs.{job}")
}

fn deleted(id: &ConnectionId) -> Refusal {
    Refusal {
        code: "connection_deleted",
        message: format!("connection `{id}` was deleted"),
        hint: "name another connection in the pipeline".to_owned(),
    }
}

/// Returns when the place that names the connection is approved as it is in this revision.
fn check_binding(
    plan: &JobPlan,
    named: &ConnectionPlan,
    fingerprints: &BTreeMap<String, String>,
    bound: &[BindingRecord],
) -> Result<(), Refusal> {
    let place = match (named.purpose, &named.source) {
        (Purpose::Clone, Some(source)) => format!("sources.{source}"),
        _ => job_place(&plan.id),
    };
    let id = &named.id;
    let refuse =
        |code, message: String, hint: &str| Err(Refusal { code, message, hint: hint.to_owned() });
    let Some(binding) =
        bound.iter().find(|binding| binding.place == place && binding.connection_id == *id)
    else {
        return refuse(
            "connection_not_bound",
            format!("`{place}` has no binding to connection `{id}`"),
            "save the pipeline again as someone who may use the connection",
        );
    };
    match binding.state {
        BindingState::Approved if fingerprints.get(&place) == Some(&binding.fingerprint) => Ok(()),
        BindingState::Approved => refuse(
            "binding_changed",
            format!("`{place}` was changed after this run's revision was saved"),
            "start a new run",
        ),
        BindingState::NeedsApproval => refuse(
            "binding_needs_approval",
            format!("`{place}` needs approval to use connection `{id}`"),
            &format!(
                "the connection's owner, or another who may use it, approves it with \
                 `keyferry pipeline approve {} {}`",
                binding.pipeline_id, binding.id
            ),
        ),
        BindingState::Revoked => refuse(
            "binding_revoked",
            format!("the right of `{place}` to use connection `{id}` was revoked"),
            "someone who may use the connection can approve it again",
        ),
        BindingState::Broken => refuse(
            "binding_broken",
            binding
                .reason
                .clone()
                .unwrap_or_else(|| format!("connection `{id}` of `{place}` was deleted")),
            "name another connection in the pipeline",
        ),
    }
}
