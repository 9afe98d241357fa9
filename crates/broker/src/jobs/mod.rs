//! Jobs in the hands of runners: claiming, reporting, and finding those whose runner was lost.

mod claim;
mod doorbell;
mod finish;
mod log;
mod overdue;
mod rejected;
mod report;
mod reports;

pub use self::claim::{ClaimedJob, JobConnection};
pub(crate) use self::doorbell::{Doorbell, Patience};
pub use self::report::Alive;
pub(crate) use self::reports::Reports;

use std::time::Duration;

/// A job whose runner has not been heard of for so long is lost.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(30);

/// How often a runner is to say that a job is alive.
pub const HEARTBEAT_SECONDS: u32 = 5;

/// The longest wait that a caller can ask for: for a job, or for news in a log.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Cuts what a runner says about a failure to what a person reads.
fn short(reason: &str) -> String {
    reason.chars().take(2_000).collect()
}
