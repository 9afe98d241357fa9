//! Calls of runners: with the runner's token to claim, with the job's token for the rest.

use super::{Client, ClientError};
use crate::runner::{
    AppendLog, ClaimJob, ClaimedJob, FinishJob, Heartbeat, HeartbeatAnswer, UpdateStep,
};

type Result<T> = std::result::Result<T, ClientError>;

/// Each method is one operation of the API, under its operation id; see docs/reference/openapi.json.
#[expect(missing_docs, reason = "the operation of the same name says it")]
impl Client {
    pub async fn claim_job(&self, body: &ClaimJob) -> Result<Option<ClaimedJob>> {
        self.post("api/v1/runner/claim", body).await
    }

    pub async fn send_heartbeat(&self, body: &Heartbeat) -> Result<HeartbeatAnswer> {
        self.post("api/v1/runner/job/heartbeat", body).await
    }

    pub async fn append_log(&self, body: &AppendLog) -> Result<()> {
        self.post("api/v1/runner/job/log", body).await
    }

    pub async fn update_step(&self, body: &UpdateStep) -> Result<()> {
        self.put("api/v1/runner/job/step", body).await
    }

    pub async fn finish_job(&self, body: &FinishJob) -> Result<()> {
        self.post("api/v1/runner/job/finish", body).await
    }
}
