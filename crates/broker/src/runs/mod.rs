//! Runs: starting, seeing, canceling, trying a job again, reading logs.
//!
//! `advance` is what moves a run: it asks the pipeline room's state machine what follows from the
//! jobs' states and writes that down. What runners say about their jobs is in [`crate::jobs`].

mod advance;
mod cancel;
mod create;
mod log;
mod unreadable;
mod view;

pub use keyferry_store::jobs::JobRecord;
pub use keyferry_store::runs::{RunFilter, RunRecord};
pub use keyferry_store::steps::StepRecord;

pub use self::create::NewRun;
pub(crate) use self::create::read_revision;
pub use self::log::LogPart;
pub(crate) use self::unreadable::read_plan;

/// A run with its jobs and steps.
#[derive(Debug, Clone)]
pub struct RunDetails {
    /// The run.
    pub run: RunRecord,
    /// The pipeline's name.
    pub pipeline_name: String,
    /// Its jobs in order, each with its steps; only the latest attempt of each.
    pub jobs: Vec<(JobRecord, Vec<StepRecord>)>,
}
