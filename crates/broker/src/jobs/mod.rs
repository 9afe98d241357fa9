//! Jobs in the hands of runners: claiming, reporting, and finding those whose runner was lost.

mod claim;
mod doorbell;
mod finish;
mod report;

pub(crate) use self::doorbell::Doorbell;
pub use self::claim::{ClaimedJob, JobConnection};

use std::time::Duration;

/// A job whose runner has not been heard of for so long is lost.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(30);

/// How often a runner is to say that a job is alive.
pub const HEARTBEAT_SECONDS: u32 = 5;
