//! `MergeBranch`: merges one branch into another at the server, without a checkout.

use serde::{Deserialize, Serialize};

use crate::keys::{Key, Shape, Table};
use crate::reader::Reader;
use crate::steps::{Context, StepConnection, StepKind, ref_name};
use crate::yaml::Node;

/// Merges one branch into another. Branches and message take `${NAME}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeBranch {
    /// The source whose repository is changed.
    pub source: String,
    /// The branch that is merged.
    pub from: String,
    /// The branch that it is merged into.
    pub into: String,
    /// How.
    pub strategy: MergeStrategy,
    /// The merge commit's message; Git's own when absent.
    pub message: Option<String>,
    /// Whether the merged branch is deleted after.
    pub delete_source: bool,
}

/// How one branch goes into another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeStrategy {
    /// A merge commit, always.
    Merge,
    /// Moves the branch forward; refused when there is something to merge.
    FastForward,
    /// One new commit with all changes.
    Squash,
}

const STRATEGIES: &[&str] = &["merge", "fastForward", "squash"];

/// The keys of `with`. Flow's own are not published; these are Keyferry's.
pub(super) static WITH: Table = Table {
    what: "`with` of `MergeBranch`",
    keys: &[
        Key::new("source", Shape::Text, "The source to change; the job's workspace."),
        Key::new("from", Shape::Text, "The branch that is merged."),
        Key::new("into", Shape::Text, "The branch that it is merged into."),
        Key::new("strategy", Shape::OneOf(STRATEGIES), "How; `merge`."),
        Key::new("message", Shape::Text, "The merge commit's message."),
        Key::new("deleteSource", Shape::Boolean, "Whether the merged branch is deleted after."),
    ],
};

pub(super) fn read(
    reader: &mut Reader<'_>,
    with: &Node,
    context: &Context<'_>,
) -> Option<(StepKind, Vec<StepConnection>)> {
    let fields = reader.fields(with, &WITH);
    let source = context.source_of(reader, &fields);
    let from = ref_name(reader, &fields, "from");
    let into = ref_name(reader, &fields, "into");
    let strategy = match reader.choice_of(&fields, "strategy", STRATEGIES) {
        Some("fastForward") => MergeStrategy::FastForward,
        Some("squash") => MergeStrategy::Squash,
        _ => MergeStrategy::Merge,
    };
    let message = reader.text_of(&fields, "message");
    let delete_source = reader.boolean_of(&fields, "deleteSource").unwrap_or(false);
    if from.is_some() && from == into {
        let message = "`from` and `into` are the same branch";
        reader.note(fields.place("into"), crate::diagnostic::code::WRONG_VALUE, message);
    }
    let step =
        MergeBranch { source: source?, from: from?, into: into?, strategy, message, delete_source };
    Some((StepKind::MergeBranch(step), Vec::new()))
}
