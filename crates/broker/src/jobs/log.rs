//! Taking a job's log, part by part, up to a size that the database can bear.

use keyferry_domain::{Actor, Error, Result};
use keyferry_store::jobs::JobRecord;
use keyferry_store::run_logs;
use keyferry_store::run_logs::LogChunkRecord;

use super::reports::LogEnd;
use crate::Broker;
use crate::failure::store_failed;

/// The longest part that is taken at once.
const PART_BYTES: usize = 256 * 1024;

/// What is kept of one job's log. A person reads none of it beyond that, and the database must
/// not be filled by one job that prints in a loop.
const LOG_BYTES: i64 = 64 * 1024 * 1024;

/// What a log that was cut ends with.
const CUT: &str = "\nkeyferry: the log is longer than 64 MiB; the rest is not kept\n";

impl Broker {
    /// Adds a part to the calling job's log; the same part again changes nothing. What comes after
    /// the longest log is taken and dropped, so that the job goes on.
    pub async fn append_log(&self, actor: &Actor, sequence: i64, text: &str) -> Result<()> {
        let job = self.own_job(actor).await?;
        if text.len() > PART_BYTES {
            return Err(Error::invalid_field(
                "/text",
                format!("is longer than {PART_BYTES} bytes"),
            ));
        }
        if sequence < 1 {
            return Err(Error::invalid_field("/sequence", "is less than 1"));
        }
        let end = self.log_end(&job, sequence - 1).await?;
        if end.size_bytes >= LOG_BYTES || sequence <= end.sequence {
            return Ok(());
        }
        if sequence > end.sequence + 1 {
            return Err(Error::conflict("log_gap", "the part before this one is missing")
                .hint(format!("go on with part {}", end.sequence + 1)));
        }
        let text = keep(text, LOG_BYTES - end.size_bytes);
        let size_bytes = end.size_bytes + i64::try_from(text.len()).unwrap_or(i64::MAX);
        let chunk = LogChunkRecord {
            organization_id: job.organization_id,
            job_id: job.id.clone(),
            sequence,
            text,
            at: self.clock.now(),
        };
        // One that is there already came in at the same moment, and is as good.
        let is_new = run_logs::append(&self.store, &chunk).await.map_err(store_failed)?;
        if is_new {
            self.reports.keep_log_end(&job.id, LogEnd { sequence, size_bytes }).await;
        } else {
            self.reports.forget(&job.id).await;
        }
        self.jobs.ring_logs();
        Ok(())
    }

    /// Returns where the log stands: from memory when `before` is the last part it knows of, since
    /// another server may have taken a part in between.
    async fn log_end(&self, job: &JobRecord, before: i64) -> Result<LogEnd> {
        if let Some(end) = self.reports.log_end(&job.id).await
            && (end.sequence == before || end.size_bytes >= LOG_BYTES)
        {
            return Ok(end);
        }
        let organization = &job.organization_id;
        let sequence = run_logs::last_sequence(&self.store, organization, &job.id)
            .await
            .map_err(store_failed)?;
        let size_bytes =
            run_logs::size_bytes(&self.store, organization, &job.id).await.map_err(store_failed)?;
        let end = LogEnd { sequence, size_bytes };
        self.reports.keep_log_end(&job.id, end).await;
        Ok(end)
    }
}

/// Returns as much of a part as there is room for, with a line that says so when it was cut.
fn keep(text: &str, room_bytes: i64) -> String {
    let room = usize::try_from(room_bytes).unwrap_or(0);
    if text.len() < room {
        return text.to_owned();
    }
    let end = (0..=room.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    // With this line the log is at least as long as it may be, so nothing follows it.
    format!("{}{CUT}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_cut_where_the_room_ends_and_never_within_a_character() {
        assert_eq!(keep("abc", 4), "abc");
        assert_eq!(keep("abc", 3), format!("abc{CUT}"));
        assert_eq!(keep("abü", 3), format!("ab{CUT}"));
        assert_eq!(keep("abc", 0), CUT);
        for room in 0..9 {
            assert!(keep("äöüß", room).len() >= usize::try_from(room.min(8)).unwrap());
        }
    }
}
