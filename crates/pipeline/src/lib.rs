//! Pipelines: from YAML text to what runs, and what a log may show.
//!
//! Pure: no process, no network, no clock. Text → [`Definition`] (every mistake with line and
//! column) → [`Definition::places`] (which connections, where, and what they are approved for) →
//! [`Definition::plan`] (what one run does) → [`machine`] (which job is next). [`masking`] hides
//! secrets in logs. Start with [`definition`].

pub mod condition;
pub mod definition;
pub mod diagnostic;
mod keys;
pub mod machine;
pub mod masking;
pub mod places;
pub mod plan;
mod reader;
mod schema;
pub mod steps;
pub mod substitution;
mod yaml;

pub use definition::{Definition, JobKey, is_branch_name};
pub use diagnostic::Diagnostic;
pub use masking::{Masker, Patterns};
pub use places::{ConnectionUse, KnownConnection, Place, PlaceKind, Purpose};
pub use plan::{
    CheckedOut, ConnectionPlan, JobPlan, PlanError, RunInputs, RunPlan, SourcePlan, StagePlan,
    StepPlan, source_variables,
};
pub use schema::schema;
pub use steps::StepKind;
pub use substitution::substitute;
pub use yaml::MAXIMUM_BYTES;
