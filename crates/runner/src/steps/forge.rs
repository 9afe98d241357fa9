//! What the steps that use a service's own calls share: when a call is made again, and how often.
//!
//! An answer can get lost after the service has done its work. Then the call is made again, and the
//! step has to tell "done before" from "cannot be done".

use std::time::Duration;

use keyferry_api::client::{Client, ClientError};

use super::StepError;
use crate::job::JobContext;

/// How often one call is made at most; with the pauses between, a server has time to start anew.
pub(super) const CALLS: u32 = 6;

/// The pause before the second call; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Returns a client that makes each call once: what is to be repeated is decided here.
pub(super) fn client(job: &JobContext) -> Client {
    job.client.with_retries(Duration::ZERO)
}

/// Tells whether the service may have done what it was asked for, although nobody said so.
pub(super) fn is_lost(error: &ClientError) -> bool {
    match error.problem() {
        Some(problem) => problem.code == "service_unavailable",
        None => error.is_transient(),
    }
}

/// Tells whether the call can be made again.
pub(super) fn can_repeat(error: &ClientError) -> bool {
    is_lost(error) || error.is_transient()
}

/// Waits for something, but not longer than the job may go on.
pub(super) async fn unless_stopped<T>(
    job: &JobContext,
    work: impl Future<Output = T>,
) -> Result<T, StepError> {
    tokio::select! {
        () = job.processes.stop.cancelled() => Err(StepError::Stopped),
        done = work => Ok(done),
    }
}

/// Waits before another call; `calls` were made so far.
pub(super) async fn pause(job: &JobContext, calls: u32) -> Result<(), StepError> {
    let pause = FIRST_PAUSE * 2_u32.saturating_pow(calls.saturating_sub(1));
    unless_stopped(job, tokio::time::sleep(pause)).await
}

/// Returns the server's reason for people.
pub(super) fn reason(error: &ClientError) -> String {
    match error.problem() {
        Some(problem) => {
            let hint = problem.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            format!("{} ({}{hint})", problem.detail, problem.code)
        }
        None => super::explain(error),
    }
}
