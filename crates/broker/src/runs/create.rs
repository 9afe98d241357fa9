//! Starting a run.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;

use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{JobId, OrganizationId, PipelineId, RunId};
use keyferry_domain::run::{JobState, RunState, StepState};
use keyferry_domain::{Actor, Error, FieldError, Result, Timestamp};
use keyferry_pipeline::{Definition, JobPlan, PlanError, RunInputs};
use keyferry_policy::Action;
use keyferry_store::jobs::JobRecord;
use keyferry_store::pipelines::RevisionRecord;
use keyferry_store::runs::RunRecord;
use keyferry_store::steps::StepRecord;
use keyferry_store::{Change, jobs, runs, steps};

use super::RunDetails;
use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;

/// What a run is started with.
#[derive(Debug, Clone, Default)]
pub struct NewRun {
    /// Variables that replace the pipeline's own.
    pub variables: BTreeMap<String, String>,
    /// Branches by source, in place of those in the pipeline.
    pub branches: BTreeMap<String, String>,
    /// A note.
    pub comment: Option<String>,
}

impl Broker {
    /// Starts a run of the pipeline's current revision.
    pub async fn create_run(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        pipeline_id: &PipelineId,
        new: NewRun,
    ) -> Result<RunDetails> {
        let pipeline =
            self.allowed_pipeline(actor, organization, pipeline_id, Action::RunStart).await?;
        if new.comment.as_ref().is_some_and(|comment| comment.chars().count() > 1_000) {
            return Err(Error::invalid_field("/comment", "has more than 1000 characters"));
        }
        let revision =
            self.find_revision(organization, pipeline_id, pipeline.current_revision).await?;
        let definition = read_revision(&revision)?;
        if !new.variables.is_empty() || !new.branches.is_empty() {
            self.allow_inputs(actor, organization, pipeline_id, &definition).await?;
        }
        let executor = match actor.user() {
            Some(user) => self.active_user(user).await?.map_or_else(String::new, |user| user.name),
            None => String::new(),
        };
        let now = self.clock.now();
        let mut run = RunRecord {
            organization_id: organization.clone(),
            id: RunId::generate(&*self.clock, &*self.random),
            pipeline_id: pipeline_id.clone(),
            revision: revision.number,
            number: 0,
            state: RunState::Queued,
            reason: None,
            run_trigger: "manual".to_owned(),
            started_by: actor.to_ref().id.unwrap_or_default(),
            inputs: serde_json::json!({ "variables": new.variables, "branches": new.branches }),
            comment: new.comment.clone(),
            cancel_requested_at: None,
            cancel_requested_by: None,
            created_at: now,
            started_at: None,
            finished_at: None,
            version: 1,
        };
        let mut change = self.store.begin().await.map_err(store_failed)?;
        run.number = runs::create(&mut change, &run).await.map_err(store_failed)?;
        let inputs = RunInputs {
            variables: new.variables,
            branches: new.branches,
            pipeline_id: pipeline_id.to_string(),
            pipeline_name: pipeline.name.clone(),
            build_number: u64::try_from(run.number).unwrap_or(1),
            remark: new.comment.unwrap_or_default(),
            executor,
            started_at: now,
        };
        // An error undoes the transaction, and with it the number.
        let plan = definition.plan(&inputs).map_err(|error| invalid_run(&error))?;
        for (position, job) in plan.jobs.iter().enumerate() {
            self.add_job(&mut change, &run, position, job, 1, now).await?;
        }
        let event = Event::done("run.create", Target::new("run", &run.id))
            .with("pipeline", pipeline_id)
            .with("revision", run.revision)
            .with("number", run.number);
        self.commit(change, actor, Some(organization), event).await?;
        self.advance_run(actor, organization, &run.id).await?;
        self.run_details(organization, &run.id).await
    }

    /// Returns when the starter may change what the jobs see and check out. That is no part of
    /// what was approved, so it takes someone who may use every connection of the pipeline: else
    /// whoever may only start it could bend it until it tells the secrets.
    async fn allow_inputs(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        pipeline_id: &PipelineId,
        definition: &Definition,
    ) -> Result<()> {
        let named: BTreeSet<String> = definition
            .places()
            .into_iter()
            .flat_map(|place| place.connections)
            .map(|used| used.id)
            .collect();
        for id in named.iter().filter_map(|id| id.parse::<ConnectionId>().ok()) {
            // A connection that was deleted opens nothing; its place is refused when it is reached.
            let found = keyferry_store::connections::find(&self.store, organization, &id)
                .await
                .map_err(store_failed)?;
            let Some(connection) = found else { continue };
            let subject = self.connection_subject(&connection).await?;
            if self.may(actor, organization, Action::ConnectionUse, &subject).await? {
                continue;
            }
            let reason =
                format!("variables or branches were given, and the starter may not use `{id}`");
            let event = Event::refused("run.create", Target::new("pipeline", pipeline_id), &reason);
            self.record(actor, Some(organization), event).await?;
            return Err(Error::denied(
                "run_inputs_need_use",
                format!("only someone who may use connection `{id}` can start this with other variables or branches"),
            )
            .hint("start it without them, or ask someone who may use every connection it names"));
        }
        Ok(())
    }

    /// Writes one attempt of a job, waiting, with its steps.
    pub(super) async fn add_job(
        &self,
        change: &mut Change,
        run: &RunRecord,
        position: usize,
        plan: &JobPlan,
        attempt: i64,
        now: Timestamp,
    ) -> Result<JobId> {
        let id = JobId::generate(&*self.clock, &*self.random);
        let job = JobRecord {
            organization_id: run.organization_id.clone(),
            id: id.clone(),
            run_id: run.id.clone(),
            position: i64::try_from(position).unwrap_or(i64::MAX),
            key: plan.id.to_string(),
            name: plan.name.clone(),
            stage: plan.stage.clone(),
            attempt,
            plan: serde_json::to_value(plan).map_err(Error::internal)?,
            state: JobState::Waiting,
            reason: None,
            isolation: None,
            runner_id: None,
            token_hash: None,
            heartbeat_due_at: None,
            heard_at: None,
            lost_claims: 0,
            uses: BTreeMap::new(),
            created_at: now,
            queued_at: None,
            started_at: None,
            finished_at: None,
            version: 1,
        };
        jobs::create(&mut *change, &job).await.map_err(store_failed)?;
        for (position, step) in plan.steps.iter().enumerate() {
            let step = StepRecord {
                organization_id: run.organization_id.clone(),
                job_id: id.clone(),
                key: step.id.clone(),
                position: i64::try_from(position).unwrap_or(i64::MAX),
                name: step.name.clone(),
                state: StepState::Waiting,
                reason: None,
                started_at: None,
                finished_at: None,
                version: 1,
            };
            steps::create(&mut *change, &step).await.map_err(store_failed)?;
        }
        Ok(id)
    }
}

/// Reads a revision that was checked when it was saved.
pub(crate) fn read_revision(revision: &RevisionRecord) -> Result<Definition> {
    Definition::parse(&revision.yaml).map_err(|diagnostics| {
        let cause = diagnostics.first().map_or_else(String::new, |first| first.message.clone());
        let message = "this version of Keyferry cannot read what an earlier one has saved";
        Error::conflict("revision_unreadable", message)
            .hint("open the pipeline, correct what is marked, and save it again")
            .caused_by(cause)
    })
}

/// Tells which part of what was given cannot be used.
fn invalid_run(error: &PlanError) -> Error {
    let mut text = format!("cannot {error}");
    if let Some(cause) = error.source() {
        text = format!("{text}: cannot {cause}");
    }
    let pointer = match error {
        PlanError::UnknownSource { source_id }
        | PlanError::InvalidBranch { source_id, .. }
        | PlanError::UnknownVariable { source_id, .. } => format!("/branches/{source_id}"),
        PlanError::InvalidVariable { name } => format!("/variables/{name}"),
        PlanError::TooLarge => "/variables".to_owned(),
        PlanError::InvalidConnection { .. } => String::new(),
    };
    Error::invalid_fields(vec![FieldError::new(pointer, text.clone())])
        .named("run_invalid", text)
        .hint("nothing was started; change what was given for this run, or the pipeline")
}
