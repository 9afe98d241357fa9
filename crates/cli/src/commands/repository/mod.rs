//! Repositories that a connection shows.

pub(crate) mod list;
