//! Seeing runs.

use std::collections::BTreeMap;

use keyferry_domain::id::{OrganizationId, RunId};
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::{Actor, Error, ErrorKind, Result};
use keyferry_policy::Action;
use keyferry_store::{jobs, runs, steps};

use super::{JobRecord, RunDetails, RunFilter, RunRecord};
use crate::Broker;
use crate::access::Subject;
use crate::failure::store_failed;

impl Broker {
    /// Gets a run with its jobs and steps.
    pub async fn get_run(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &RunId,
    ) -> Result<RunDetails> {
        self.allow_run(actor, organization, id, Action::RunRead).await?;
        self.run_details(organization, id).await
    }

    /// Lists runs whose pipeline the caller may see, newest first, with their pipelines' names. A
    /// page may hold fewer entries than asked for although more follow.
    pub async fn list_runs(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        filter: &RunFilter,
        page: &PageRequest,
    ) -> Result<Page<RunDetails>> {
        self.allow(actor, organization, Action::RunList, &Subject::Organization).await?;
        let found =
            runs::list(&self.store, organization, filter, page).await.map_err(store_failed)?;
        let mut names = BTreeMap::new();
        let mut visible = Vec::new();
        for run in found.items {
            if !names.contains_key(&run.pipeline_id) {
                let name = self.visible_name(actor, organization, &run).await?;
                names.insert(run.pipeline_id.clone(), name);
            }
            if let Some(Some(name)) = names.get(&run.pipeline_id) {
                visible.push(RunDetails { run, pipeline_name: name.clone(), jobs: Vec::new() });
            }
        }
        Ok(Page { items: visible, next_cursor: found.next_cursor })
    }

    /// Returns the name of a run's pipeline, when the caller may see its runs.
    async fn visible_name(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        run: &RunRecord,
    ) -> Result<Option<String>> {
        let pipeline = self.pipeline_of_run(run).await?;
        let subject = self.pipeline_subject(&pipeline).await?;
        let sees = self.may(actor, organization, Action::RunRead, &subject).await?;
        Ok(sees.then_some(pipeline.name))
    }

    /// Returns the run when the caller may do this with it. To somebody who may not see it, one
    /// that exists and one that does not look the same.
    pub(super) async fn allow_run(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &RunId,
        action: Action,
    ) -> Result<RunRecord> {
        let missing = || Error::not_found(format!("run `{id}`"));
        let run = runs::find(&self.store, organization, id)
            .await
            .map_err(store_failed)?
            .ok_or_else(missing)?;
        let pipeline = self.pipeline_of_run(&run).await?;
        let subject = self.pipeline_subject(&pipeline).await?;
        match self.allow(actor, organization, action, &subject).await {
            Ok(()) => Ok(run),
            // What is not found is the pipeline; nobody must learn of it by its run.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // The runs of a deleted pipeline are still there.
                let is_seen = self.may(actor, organization, Action::RunRead, &subject).await?;
                let deleted = Error::denied("pipeline_deleted", "the run's pipeline was deleted");
                Err(if is_seen { deleted } else { missing() })
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn run_details(
        &self,
        organization: &OrganizationId,
        id: &RunId,
    ) -> Result<RunDetails> {
        let run = runs::find(&self.store, organization, id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::not_found(format!("run `{id}`")))?;
        let pipeline_name = self.pipeline_of_run(&run).await?.name;
        let mut latest: BTreeMap<i64, JobRecord> = BTreeMap::new();
        for job in jobs::list_by_run(&self.store, organization, id).await.map_err(store_failed)? {
            latest.insert(job.position, job);
        }
        let mut all = Vec::with_capacity(latest.len());
        for job in latest.into_values() {
            let steps = steps::list_by_job(&self.store, organization, &job.id)
                .await
                .map_err(store_failed)?;
            all.push((job, steps));
        }
        Ok(RunDetails { run, pipeline_name, jobs: all })
    }
}
