//! The one way out: every outbound connection to an address that a person gave passes here.
//!
//! It stands against server-side request forgery: an address inside the operator's network is
//! refused unless the operator allowed it. [`address`] says which addresses are which, `resolve`
//! checks each address a name stands for, and hands on only those. What is spoken over a
//! connection is not decided here; for HTTP see `crate::http`, for SSH `crate::ssh`.

pub mod address;
mod allowance;
mod refusal;
mod way_out;

pub use allowance::{Allowance, InvalidAllowance};
pub use refusal::GateError;
pub use way_out::{Gate, GateSettings, Limits};
