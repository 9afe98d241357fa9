//! Who may do what: the policy text, the decision, and its explanation.
//!
//! The rules are in `policies/*.cedar` and nowhere else; this crate loads them, turns a question
//! into the words of `policies/schema.cedarschema`, and turns the answer into sentences. It knows
//! neither the database nor HTTP: whoever asks brings the facts. Start with [`Policy::decide`].

mod action;
mod entities;
mod explain;
mod matrix;
mod policy;
mod request;

pub use action::{Action, UnknownAction};
pub use explain::{Decision, Reason};
pub use matrix::permissions_matrix;
pub use policy::{Policy, PolicyError};
pub use request::{Facts, PipelineMember, PipelineRole, Principal, Request, Resource, Target};
