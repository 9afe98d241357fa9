//! `DeleteBranch`: deletes a branch at the server.

use serde::{Deserialize, Serialize};

use crate::keys::{Key, Shape, Table};
use crate::reader::Reader;
use crate::steps::{Context, StepConnection, StepKind, commit_of, ref_name};
use crate::yaml::Node;

/// Deletes a branch. Branch and commit take `${NAME}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteBranch {
    /// The source whose repository is changed.
    pub source: String,
    /// The branch.
    pub branch: String,
    /// The commit it must stand at; anything when absent.
    pub expected_commit: Option<String>,
}

/// The keys of `with`. Flow's own are not published; these are Keyferry's.
pub(super) static WITH: Table = Table {
    what: "`with` of `DeleteBranch`",
    keys: &[
        Key::new("source", Shape::Text, "The source to change; the job's workspace."),
        Key::new("branch", Shape::Text, "The branch to delete."),
        Key::new("expectedCommit", Shape::Text, "Deletes only when the branch stands there."),
    ],
};

pub(super) fn read(
    reader: &mut Reader<'_>,
    with: &Node,
    context: &Context<'_>,
) -> Option<(StepKind, Vec<StepConnection>)> {
    let fields = reader.fields(with, &WITH);
    let source = context.source_of(reader, &fields);
    let branch = ref_name(reader, &fields, "branch");
    let expected_commit = commit_of(reader, &fields, "expectedCommit");
    let step = DeleteBranch { source: source?, branch: branch?, expected_commit };
    Some((StepKind::DeleteBranch(step), Vec::new()))
}
