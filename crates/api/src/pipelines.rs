//! Pipelines and their revisions: YAML text in the format of Flow.

use keyferry_domain::Timestamp;
use keyferry_domain::id::{PipelineId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::bindings::BindingView;

/// Creates a pipeline.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePipeline {
    /// Name, 1 to 100 characters, unique in the organization.
    pub name: String,
    /// The YAML text, 256 KiB at most.
    pub yaml: String,
}

/// Saves a new revision, a new name, or both.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePipeline {
    /// New name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// New YAML text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub yaml: Option<String>,
    /// The version that was read.
    pub version: i64,
}

/// Checks YAML text against the rules and against the organization's connections; saves nothing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckPipeline {
    /// The YAML text.
    pub yaml: String,
}

/// What a check found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PipelineChecked {
    /// Empty when the text can be saved.
    pub diagnostics: Vec<DiagnosticView>,
}

/// One thing that is wrong in a pipeline's text.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DiagnosticView {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// Where in the structure: `stages.build.jobs.compile`.
    pub path: String,
    /// Stable code.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// A pipeline in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PipelineSummary {
    /// Its id.
    #[schema(value_type = String)]
    pub id: PipelineId,
    /// Its name.
    pub name: String,
    /// The number of the current revision.
    pub revision: i64,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A pipeline.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PipelineView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: PipelineId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    #[schema(value_type = String)]
    pub owner_id: UserId,
    /// The current revision.
    pub revision: RevisionView,
    /// Its rights to connections.
    pub bindings: Vec<BindingView>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Counts changes.
    pub version: i64,
}

/// One saved version of a pipeline's text.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RevisionView {
    /// Counts from 1.
    pub number: i64,
    /// The YAML text as saved.
    pub yaml: String,
    /// Who saved it.
    #[schema(value_type = String)]
    pub author_id: UserId,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Which pipelines are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PipelineQuery {
    /// Entries at most, 1 to 200; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// With this text in the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
}
