//! Repositories, branches and tags, seen and changed through a connection.
//!
//! Paths and branch names hold slashes, so they travel as query parameters.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which repositories are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RepositoryQuery {
    /// With this text in the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Entries at most, 1 to 200; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which branches are wanted.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct BranchQuery {
    /// The repository: `team/app`.
    pub repository: String,
    /// With this text in the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Entries at most, 1 to 200; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A repository.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RepositoryView {
    /// Its path: `team/app`.
    pub path: String,
    /// Its description.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// Its default branch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub default_branch: Option<String>,
    /// Whether only members see it.
    pub private: bool,
    /// Whether it takes no changes.
    pub archived: bool,
    /// Its address for `git clone`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clone_url: Option<String>,
}

/// A branch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BranchView {
    /// Its name.
    pub name: String,
    /// The commit it points at.
    pub commit: String,
    /// Whether it is the default branch; absent where the service does not say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub default: Option<bool>,
    /// Whether it is protected; absent where the service does not say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub protected: Option<bool>,
}

/// Deletes a branch.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DeleteBranch {
    /// The repository.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// Delete it only if it still points at this commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_commit: Option<String>,
}

/// Deletes a tag.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DeleteTag {
    /// The repository.
    pub repository: String,
    /// The tag.
    pub tag: String,
}

/// How branches are brought together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeStrategy {
    /// A merge commit.
    Merge,
    /// Move the branch, or fail.
    FastForward,
    /// One new commit with all changes.
    Squash,
}

/// Merges one branch into another by the service's own call.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeBranch {
    /// The repository.
    pub repository: String,
    /// The branch with the changes.
    pub from: String,
    /// The branch that takes them.
    pub into: String,
    /// How; `merge` when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub strategy: Option<MergeStrategy>,
    /// The commit message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// The commit that `from` must be at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected_commit: Option<String>,
}

/// What a merge did.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BranchMerged {
    /// The new commit of `into`; absent when there was nothing to merge.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<String>,
}
