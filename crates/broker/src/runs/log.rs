//! Reading a job's log, also while it grows.

use std::time::Duration;

use keyferry_domain::id::{JobId, OrganizationId, RunId};
use keyferry_domain::{Actor, Error, Result};
use keyferry_policy::Action;
use keyferry_store::{jobs, run_logs};

use crate::Broker;
use crate::failure::store_failed;
use crate::jobs::{LONGEST_WAIT, Patience};

/// Chunks of one answer at most.
const CHUNKS: u32 = 64;

/// Bytes of one answer after which no further chunk is added.
const PART_BYTES: usize = 512 * 1024;

/// A part of a job's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPart {
    /// Text, secrets masked.
    pub text: String,
    /// Where to go on.
    pub next: i64,
    /// Whether nothing more will come.
    pub is_complete: bool,
}

impl Broker {
    /// Reads a job's log after a position; waits up to `wait` for something new.
    pub async fn read_job_log(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        run: &RunId,
        job: &JobId,
        after: i64,
        wait: Duration,
    ) -> Result<LogPart> {
        self.allow_run(actor, organization, run, Action::RunRead).await?;
        if wait > LONGEST_WAIT {
            return Err(Error::invalid_field("/wait_seconds", "is not between 0 and 30"));
        }
        if after < 0 {
            return Err(Error::invalid_field("/after", "is less than 0"));
        }
        let patience = Patience::new(wait);
        loop {
            let news = self.jobs.await_logs();
            // The job first: what it wrote before it was over is then in the chunks.
            let record = jobs::find(&self.store, organization, job)
                .await
                .map_err(store_failed)?
                .filter(|record| record.run_id == *run)
                .ok_or_else(|| Error::not_found(format!("job `{job}` in this run")))?;
            let chunks = run_logs::read(&self.store, organization, job, after, CHUNKS)
                .await
                .map_err(store_failed)?;
            let has_news = !chunks.is_empty() || record.state.is_over();
            if has_news || !patience.wait(news).await {
                let is_last = chunks.len() < CHUNKS as usize;
                let mut part = LogPart { text: String::new(), next: after, is_complete: false };
                let mut has_all = true;
                for chunk in chunks {
                    if part.text.len() >= PART_BYTES {
                        has_all = false;
                        break;
                    }
                    part.text.push_str(&chunk.text);
                    part.next = chunk.sequence;
                }
                part.is_complete = record.state.is_over() && is_last && has_all;
                return Ok(part);
            }
        }
    }
}
