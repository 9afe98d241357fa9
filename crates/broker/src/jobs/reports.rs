//! What this process remembers about the reports of jobs. Everything in it can be forgotten: it
//! is found again in the database.

use keyferry_domain::Timestamp;
use keyferry_domain::id::JobId;

/// Where a job's log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogEnd {
    /// The last part that is kept.
    pub(super) sequence: i64,
    /// The bytes of all parts.
    pub(super) size_bytes: i64,
}

/// The memory of this process.
pub(crate) struct Reports {
    listening_since: Timestamp,
    log_ends: moka::future::Cache<JobId, LogEnd>,
}

impl Reports {
    /// Starts with an empty memory; nothing could be heard before `now`.
    pub(crate) fn since(now: Timestamp) -> Self {
        let log_ends = moka::future::Cache::builder().max_capacity(10_000).build();
        Self { listening_since: now, log_ends }
    }

    /// Returns since when runners can be heard here.
    pub(super) const fn listening_since(&self) -> Timestamp {
        self.listening_since
    }

    /// Returns where a log stands, as far as this process knows.
    pub(super) async fn log_end(&self, job: &JobId) -> Option<LogEnd> {
        self.log_ends.get(job).await
    }

    pub(super) async fn keep_log_end(&self, job: &JobId, end: LogEnd) {
        self.log_ends.insert(job.clone(), end).await;
    }

    /// Forgets a job that is over.
    pub(crate) async fn forget(&self, job: &JobId) {
        self.log_ends.invalidate(job).await;
    }
}
