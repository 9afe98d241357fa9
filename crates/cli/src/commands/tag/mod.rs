//! Tags, changed through a connection.

pub(crate) mod delete;
