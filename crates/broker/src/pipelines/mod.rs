//! Pipelines: saving them with their bindings, and seeing them.
//!
//! `save` is where a pipeline gets its rights; `check` finds mistakes before anything is written;
//! `members` shares one; `view` shows; `subject` is a pipeline as the policies see it.

mod check;
mod members;
mod save;
mod subject;
mod view;

pub use keyferry_pipeline::Diagnostic;
pub use keyferry_store::bindings::BindingRecord;
pub use keyferry_store::pipelines::{PipelineMemberRecord, PipelineRecord, RevisionRecord};

/// A pipeline with its current revision and its rights.
#[derive(Debug, Clone)]
pub struct PipelineDetails {
    /// The pipeline.
    pub pipeline: PipelineRecord,
    /// Its current revision.
    pub revision: RevisionRecord,
    /// Its bindings, in the order of their places.
    pub bindings: Vec<BindingRecord>,
}
