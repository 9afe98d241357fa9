//! Connections: what pipelines name. How one is shown is in [`view`].

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod reconfigure;
pub(crate) mod rename;
pub(crate) mod rollback;
pub(crate) mod scope;
pub(crate) mod transfer;
pub(crate) mod types;
pub(crate) mod usage;
pub(crate) mod verify;
mod view;
