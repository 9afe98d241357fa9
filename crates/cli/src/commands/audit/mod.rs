//! The audit record.

pub(crate) mod list;
