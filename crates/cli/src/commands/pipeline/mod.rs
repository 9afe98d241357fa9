//! Pipelines: YAML text and its rights to connections. Reading a file is in [`text`].

pub(crate) mod approve;
pub(crate) mod check;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod members;
pub(crate) mod revoke;
pub(crate) mod share;
mod text;
pub(crate) mod unshare;
pub(crate) mod update;
