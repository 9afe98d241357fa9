//! What runners and the server say to each other while jobs run.
//!
//! A runner claims a job with its own token; everything about that job then goes with the job's
//! token, which stops working when the job ends.

use std::collections::BTreeMap;

use keyferry_domain::Timestamp;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{JobId, OrganizationId, RunId};
use keyferry_domain::run::{Isolation, JobState, StepState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::secrets::Disclosed;

/// Asks for a job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimJob {
    /// How this runner keeps jobs apart.
    #[schema(value_type = String)]
    pub isolation: Isolation,
    /// Wait up to so many seconds for a job, 0 to 30.
    #[serde(default)]
    pub wait_seconds: u32,
}

/// A job to be executed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ClaimedJob {
    /// The job.
    #[schema(value_type = String)]
    pub job_id: JobId,
    /// Its run.
    #[schema(value_type = String)]
    pub run_id: RunId,
    /// Its organization.
    #[schema(value_type = String)]
    pub organization_id: OrganizationId,
    /// Counts tries from 1.
    pub attempt: i64,
    /// What the runner speaks with for this job.
    pub job_token: Disclosed,
    /// Say that you are alive at least this often, and before anything of the job is run: until the
    /// server has taken a first heartbeat, it may give the job to another runner.
    pub heartbeat_seconds: u32,
    /// What to execute: a `JobPlan` of the pipeline room.
    #[schema(value_type = Object)]
    pub plan: serde_json::Value,
    /// The connections that this job may use.
    pub connections: Vec<JobConnection>,
}

/// A connection that a job may use.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobConnection {
    /// The connection.
    #[schema(value_type = String)]
    pub connection_id: ConnectionId,
    /// Its type.
    pub connection_type: String,
    /// The address below which helpers answer for it: `https://git.example.com/team`, without a
    /// scheme where any will do; absent for types without a service.
    pub address: Option<String>,
    /// Certificates in PEM that the service is trusted by instead of the system's, at that address
    /// and nowhere else; absent where the system's are trusted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ca_certificate: Option<String>,
    /// Whether the server can merge through it by the service's own call.
    pub can_merge: bool,
    /// Whether the server can delete branches and tags through it.
    pub can_delete_branches: bool,
}

/// Says that a job is alive, and what happened since the last time.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// How often each connection was used since the job began, by connection ID.
    #[serde(default)]
    pub uses: BTreeMap<String, u64>,
}

/// What the server answers to a sign of life.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatAnswer {
    /// Stop the job.
    pub cancel_requested: bool,
    /// When the server gives the job up for lost if it hears nothing.
    #[schema(value_type = String, format = DateTime)]
    pub due_at: Timestamp,
}

/// Adds to a job's log. Sending the same sequence number again changes nothing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppendLog {
    /// Counts parts from 1, without gaps.
    pub sequence: i64,
    /// Text, secrets masked; 256 KiB at most.
    pub text: String,
}

/// Tells where a step stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateStep {
    /// The step's key.
    pub key: String,
    /// Its state.
    #[schema(value_type = String)]
    pub state: StepState,
    /// Why, when it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// Ends a job. Its token stops working, its leases end.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishJob {
    /// `succeeded`, `failed` or `canceled`.
    #[schema(value_type = String)]
    pub state: JobState,
    /// Why, when it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// How often each connection was used, by connection ID.
    #[serde(default)]
    pub uses: BTreeMap<String, u64>,
}
