//! `AddGitTag`: puts a tag on a commit at the server.

use serde::{Deserialize, Serialize};

use crate::keys::{Key, Shape, Table};
use crate::reader::Reader;
use crate::steps::{Context, StepConnection, StepKind, commit_of, ref_name};
use crate::yaml::Node;

/// Puts a tag on a commit. Tag, commit and message take `${NAME}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddGitTag {
    /// The source whose repository is changed.
    pub source: String,
    /// The tag's name.
    pub tag: String,
    /// The commit; the tip of the source's branch in this run when absent.
    pub commit: Option<String>,
    /// Makes an annotated tag with this message; a plain one when absent.
    pub message: Option<String>,
}

/// The keys of `with`. Flow's own are not published; these are Keyferry's.
pub(super) static WITH: Table = Table {
    what: "`with` of `AddGitTag`",
    keys: &[
        Key::new("source", Shape::Text, "The source to change; the job's workspace."),
        Key::new("tag", Shape::Text, "The tag's name."),
        Key::new("commit", Shape::Text, "The commit; the tip of the source's branch."),
        Key::new("message", Shape::Text, "Makes an annotated tag."),
    ],
};

pub(super) fn read(
    reader: &mut Reader<'_>,
    with: &Node,
    context: &Context<'_>,
) -> Option<(StepKind, Vec<StepConnection>)> {
    let fields = reader.fields(with, &WITH);
    let source = context.source_of(reader, &fields);
    let tag = ref_name(reader, &fields, "tag");
    let commit = commit_of(reader, &fields, "commit");
    let message = reader.text_of(&fields, "message");
    let step = AddGitTag { source: source?, tag: tag?, commit, message };
    Some((StepKind::AddGitTag(step), Vec::new()))
}
