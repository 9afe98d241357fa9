//! Runs of pipelines, their jobs, steps and logs.

use std::collections::BTreeMap;

use keyferry_domain::Timestamp;
use keyferry_domain::id::{JobId, PipelineId, RunId};
use keyferry_domain::run::{Isolation, JobState, RunState, StepState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Starts a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRun {
    /// Variables that replace the pipeline's own.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Branches by source, in place of those in the pipeline.
    #[serde(default)]
    pub branches: BTreeMap<String, String>,
    /// A note.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comment: Option<String>,
}

/// Which runs are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RunQuery {
    /// Entries at most, 1 to 200; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Of this pipeline only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub pipeline_id: Option<PipelineId>,
    /// In this state only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub state: Option<RunState>,
}

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: RunId,
    /// The pipeline.
    #[schema(value_type = String)]
    pub pipeline_id: PipelineId,
    /// The pipeline's name.
    pub pipeline_name: String,
    /// The revision that was run.
    pub revision: i64,
    /// Counts the runs of the pipeline from 1.
    pub number: i64,
    /// Where it stands.
    #[schema(value_type = String)]
    pub state: RunState,
    /// Why it ended so, when it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Who started it.
    pub started_by: String,
    /// A note.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comment: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When its first job started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Its jobs; absent in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobView>,
}

/// A job of a run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: JobId,
    /// Its key in the pipeline: `build.compile`.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// Counts tries from 1.
    pub attempt: i64,
    /// Where it stands.
    #[schema(value_type = String)]
    pub state: JobState,
    /// Why it ended so, when it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// How it was kept apart.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub isolation: Option<Isolation>,
    /// When a runner took it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Its steps.
    pub steps: Vec<StepView>,
    /// How often each connection was used, by connection ID.
    #[serde(default)]
    pub uses: BTreeMap<String, u64>,
}

/// A step of a job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// Its key in the job.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    #[schema(value_type = String)]
    pub state: StepState,
    /// Why it ended so, when it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// When it started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
}

/// Which part of a log is wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// `next` of the part before; 0 for the beginning.
    #[serde(default)]
    pub after: i64,
    /// Wait up to so many seconds for something new, 0 to 30.
    #[serde(default)]
    pub wait_seconds: u32,
}

/// A part of a job's log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogPart {
    /// Text, secrets masked.
    pub text: String,
    /// Where to go on.
    pub next: i64,
    /// Whether nothing more will come.
    pub is_complete: bool,
}
