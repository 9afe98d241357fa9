//! The logs of jobs, in numbered chunks.

use keyferry_domain::Timestamp;
use keyferry_domain::id::{JobId, OrganizationId};

use crate::database::On;
use crate::error::{Result, StoreError};
use crate::record::record;
use crate::row::params;

record! {
    /// One chunk of a job's log.
    pub struct LogChunkRecord in "run_logs" as "log chunk" {
        /// The organization.
        key organization_id: OrganizationId,
        /// The job.
        key job_id: JobId,
        /// Counts the job's chunks; a runner that sends one again sends the same number.
        key sequence: i64,
        /// The text, masked by the runner.
        fix text: String,
        /// When it arrived.
        fix at: Timestamp,
    }
}

/// Adds a chunk; one that is there already is left as it is. Tells whether it was new.
pub async fn append(on: impl Into<On<'_>>, record: &LogChunkRecord) -> Result<bool> {
    match on.into().insert(record).await {
        Ok(()) => Ok(true),
        Err(StoreError::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the number of the last chunk of a job's log; 0 when there is none.
pub async fn last_sequence(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    job: &JobId,
) -> Result<i64> {
    let sql = "SELECT COALESCE(MAX(sequence), 0) AS last FROM run_logs \
               WHERE organization_id = $1 AND job_id = $2";
    let rows = on.into().query("run_logs", sql.to_owned(), params![organization, job]).await?;
    rows.first().map_or(Ok(0), |row| row.get("last"))
}

/// Returns how many bytes of a job's log are kept.
pub async fn size_bytes(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    job: &JobId,
) -> Result<i64> {
    let sql = "SELECT CAST(COALESCE(SUM(OCTET_LENGTH(text)), 0) AS BIGINT) AS size_bytes \
               FROM run_logs WHERE organization_id = $1 AND job_id = $2";
    let rows = on.into().query("run_logs", sql.to_owned(), params![organization, job]).await?;
    rows.first().map_or(Ok(0), |row| row.get("size_bytes"))
}

/// Reads the chunks after a sequence number, at most `limit`; `after` -1 starts at the beginning.
pub async fn read(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    job: &JobId,
    after: i64,
    limit: u32,
) -> Result<Vec<LogChunkRecord>> {
    on.into()
        .select(
            "WHERE organization_id = $1 AND job_id = $2 AND sequence > $3 \
             ORDER BY sequence LIMIT $4",
            params![organization, job, after, i64::from(limit)],
        )
        .await
}
