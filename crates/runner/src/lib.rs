//! Executes jobs. The only room that starts processes.
//!
//! A [`Runner`] claims jobs over the public API and runs each in a workspace of its own, kept apart
//! as [`isolation`] can; [`job_socket`] hands out what the job's connections allow; [`exec`] gives
//! the same to one command outside pipelines. Read `job.rs` first: it is a job's life in one file.
//! Decides nothing about who may use what: the server does, with each lease.

mod beneath;
pub mod exec;
mod family;
mod git;
pub mod isolation;
mod job;
pub mod job_socket;
mod leases;
mod log;
mod private;
mod process;
mod runner;
mod secrets;
mod settings;
mod steps;
mod trust;
mod workspace;

pub use runner::{Runner, RunnerError};
pub use settings::Settings;
