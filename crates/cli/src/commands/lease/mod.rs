//! Leases: what was given to whom.

pub(crate) mod end;
pub(crate) mod get;
pub(crate) mod list;
