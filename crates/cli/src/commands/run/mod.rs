//! Runs of pipelines. Following a run is in [`follow`].

pub(crate) mod cancel;
mod follow;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod retry;
pub(crate) mod start;
pub(crate) mod watch;
