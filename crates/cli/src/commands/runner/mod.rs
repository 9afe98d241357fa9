//! Runners: programs that execute jobs.

pub(crate) mod list;
pub(crate) mod register;
pub(crate) mod remove;
pub(crate) mod start;
