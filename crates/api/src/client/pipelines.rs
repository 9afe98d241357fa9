//! Calls about pipelines, bindings and runs.

use keyferry_domain::id::{BindingId, JobId, OrganizationId, PipelineId, RunId, UserId};

use super::{Client, ClientError};
use crate::List;
use crate::bindings::{ApproveBinding, BindingView};
use crate::pipeline_members::{PipelineMemberView, SetPipelineMember};
use crate::pipelines::{
    CheckPipeline, CreatePipeline, PipelineChecked, PipelineQuery, PipelineSummary, PipelineView,
    RevisionView, UpdatePipeline,
};
use crate::runs::{CreateRun, LogPart, LogQuery, RunQuery, RunView};

type Result<T> = std::result::Result<T, ClientError>;

/// Each method is one operation of the API, under its operation id; see docs/reference/openapi.json.
#[expect(missing_docs, reason = "the operation of the same name says it")]
impl Client {
    pub async fn check_pipeline(
        &self,
        organization: &OrganizationId,
        body: &CheckPipeline,
    ) -> Result<PipelineChecked> {
        self.post(&format!("api/v1/organizations/{organization}/pipelines/check"), body).await
    }

    pub async fn create_pipeline(
        &self,
        organization: &OrganizationId,
        body: &CreatePipeline,
    ) -> Result<PipelineView> {
        self.post(&format!("api/v1/organizations/{organization}/pipelines"), body).await
    }

    pub async fn list_pipelines(
        &self,
        organization: &OrganizationId,
        query: &PipelineQuery,
    ) -> Result<List<PipelineSummary>> {
        self.get_with(&format!("api/v1/organizations/{organization}/pipelines"), query).await
    }

    pub async fn get_pipeline(
        &self,
        organization: &OrganizationId,
        pipeline: &PipelineId,
    ) -> Result<PipelineView> {
        self.get(&format!("api/v1/organizations/{organization}/pipelines/{pipeline}")).await
    }

    pub async fn update_pipeline(
        &self,
        organization: &OrganizationId,
        pipeline: &PipelineId,
        body: &UpdatePipeline,
    ) -> Result<PipelineView> {
        self.patch(&format!("api/v1/organizations/{organization}/pipelines/{pipeline}"), body).await
    }

    pub async fn delete_pipeline(
        &self,
        organization: &OrganizationId,
        pipeline: &PipelineId,
    ) -> Result<()> {
        self.delete(&format!("api/v1/organizations/{organization}/pipelines/{pipeline}"), &()).await
    }

    pub async fn list_pipeline_members(
        &self,
        organization: &OrganizationId,
        pipeline: &PipelineId,
    ) -> Result<List<PipelineMemberView>> {
        self.get(&format!("api/v1/organizations/{organization}/pipelines/{pipeline}/members")).await
    }

    pub async fn set_pipeline_member(
        &self,
        organization: &OrganizationId,
        pipeline: &PipelineId,
        user: &UserId,
        body: &SetPipelineMember,
    ) -> Result<PipelineMemberView> {
        let path =
            format!("api/v1/organizations/{organization}/pipelines/{pipeline}/members/{user}");
        self.put(&path, body).await
    }

    pub async fn delete_pipeline_member(
        &self,
        organization: &OrganizationId,
        pipeline: &PipelineId,
        user: &UserId,
    ) -> Result<()> {
        let path =
            format!("api/v1/organizations/{organization}/pipelines/{pipeline}/members/{user}");
        self.delete(&path, &()).await
    }

    pub async fn get_revision(
        &self,
        organization: &OrganizationId,
        pipeline: &PipelineId,
        number: i64,
    ) -> Result<RevisionView> {
        let path =
            format!("api/v1/organizations/{organization}/pipelines/{pipeline}/revisions/{number}");
        self.get(&path).await
    }

    pub async fn approve_binding(
        &self,
        organization: &OrganizationId,
        binding: &BindingId,
        body: &ApproveBinding,
    ) -> Result<BindingView> {
        let path = format!("api/v1/organizations/{organization}/bindings/{binding}/approve");
        self.post(&path, body).await
    }

    pub async fn revoke_binding(
        &self,
        organization: &OrganizationId,
        binding: &BindingId,
    ) -> Result<()> {
        self.delete(&format!("api/v1/organizations/{organization}/bindings/{binding}"), &()).await
    }

    pub async fn create_run(
        &self,
        organization: &OrganizationId,
        pipeline: &PipelineId,
        body: &CreateRun,
    ) -> Result<RunView> {
        let path = format!("api/v1/organizations/{organization}/pipelines/{pipeline}/runs");
        self.post(&path, body).await
    }

    pub async fn list_runs(
        &self,
        organization: &OrganizationId,
        query: &RunQuery,
    ) -> Result<List<RunView>> {
        self.get_with(&format!("api/v1/organizations/{organization}/runs"), query).await
    }

    pub async fn get_run(&self, organization: &OrganizationId, run: &RunId) -> Result<RunView> {
        self.get(&format!("api/v1/organizations/{organization}/runs/{run}")).await
    }

    pub async fn cancel_run(&self, organization: &OrganizationId, run: &RunId) -> Result<RunView> {
        self.post(&format!("api/v1/organizations/{organization}/runs/{run}/cancel"), &()).await
    }

    pub async fn retry_job(
        &self,
        organization: &OrganizationId,
        run: &RunId,
        job: &JobId,
    ) -> Result<RunView> {
        let path = format!("api/v1/organizations/{organization}/runs/{run}/jobs/{job}/retry");
        self.post(&path, &()).await
    }

    pub async fn read_job_log(
        &self,
        organization: &OrganizationId,
        run: &RunId,
        job: &JobId,
        query: &LogQuery,
    ) -> Result<LogPart> {
        let path = format!("api/v1/organizations/{organization}/runs/{run}/jobs/{job}/log");
        self.get_with(&path, query).await
    }
}
