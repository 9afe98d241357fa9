//! Branches, seen and changed through a connection.

pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod merge;
