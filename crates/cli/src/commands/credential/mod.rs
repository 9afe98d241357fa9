//! Credentials: the authority behind connections. How one is shown is in [`get`].

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod rename;
