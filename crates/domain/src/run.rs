//! The states of runs, jobs and steps. How they follow each other is in `pipeline`.

use crate::named::named;

named! {
    /// Where a run stands.
    RunState {
        /// Waiting for a runner.
        Queued = "queued",
        /// At least one job has started.
        Running = "running",
        /// Every job succeeded or was skipped.
        Succeeded = "succeeded",
        /// A job failed.
        Failed = "failed",
        /// Someone canceled it.
        Canceled = "canceled",
    }
}

named! {
    /// Where a job stands.
    JobState {
        /// Waits for its stage or the jobs it needs.
        Waiting = "waiting",
        /// Ready; waits for a runner.
        Queued = "queued",
        /// A runner has it.
        Running = "running",
        /// Every step succeeded or was skipped.
        Succeeded = "succeeded",
        /// A step failed, its time was up, or its runner was lost.
        Failed = "failed",
        /// Canceled before or while it ran.
        Canceled = "canceled",
        /// Its condition was not met, or what it needs did not succeed.
        Skipped = "skipped",
    }
}

named! {
    /// Where a step stands.
    StepState {
        /// Not reached yet.
        Waiting = "waiting",
        /// Being executed.
        Running = "running",
        /// Done.
        Succeeded = "succeeded",
        /// Ended with a failure.
        Failed = "failed",
        /// Stopped by a cancel or a timeout.
        Canceled = "canceled",
        /// Not executed, because an earlier step failed.
        Skipped = "skipped",
    }
}

impl RunState {
    /// Tells whether nothing more will happen.
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

impl JobState {
    /// Tells whether nothing more will happen.
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Waiting | Self::Queued | Self::Running)
    }
}

named! {
    /// How a job is kept apart from its runner and from other jobs.
    Isolation {
        /// Own mount, PID and IPC namespaces, by bubblewrap.
        Namespaces = "namespaces",
        /// A clean environment and a private folder only.
        Process = "process",
    }
}
