//! Organizations: tenants of one server.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod rename;
