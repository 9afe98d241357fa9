//! One's own password.

pub(crate) mod change;
