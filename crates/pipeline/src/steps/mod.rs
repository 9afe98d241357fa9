//! Steps: one file each with its `with` fields. What a step does is in the runner's file of the same
//! name.
//!
//! To add a step: its file here, one line in `NAMES`, one arm in `read_kind` and in `tables`.

mod add_git_tag;
mod catalogue;
mod command;
mod delete_branch;
mod docker_login;
mod merge_branch;

use serde::{Deserialize, Serialize};

pub use add_git_tag::AddGitTag;
pub use command::{Command, EnvironmentPart};
pub use delete_branch::DeleteBranch;
pub use docker_login::DockerLogin;
pub use merge_branch::{MergeBranch, MergeStrategy};

use crate::definition::{ConnectionName, Definition, unknown_reference};
use crate::diagnostic::{Position, code, did_you_mean, quote};
use crate::keys::{Key, Shape, Table};
use crate::reader::{Fields, Reader};
use crate::yaml::{Node, Value};

/// Steps that run today, as Flow spells them.
pub(crate) const NAMES: &[&str] =
    &["Command", "MergeBranch", "DeleteBranch", "AddGitTag", "DockerLogin"];

/// One step of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its id, unique in its job.
    pub id: String,
    /// What people call it; the id when the text gives no name.
    pub name: String,
    /// The source in whose folder it starts.
    pub workspace: Option<String>,
    /// What it does.
    pub kind: StepKind,
    /// The connections it names, with where they stand.
    pub connections: Vec<StepConnection>,
}

/// A connection that a step names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepConnection {
    /// The name the step gives it, or the key that holds it.
    pub name: String,
    /// The ID as written.
    pub connection: ConnectionName,
}

/// What a step does, with its fields. Fields that take `${NAME}` say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", content = "with", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is documented by its type")]
pub enum StepKind {
    Command(Command),
    MergeBranch(MergeBranch),
    DeleteBranch(DeleteBranch),
    AddGitTag(AddGitTag),
    DockerLogin(DockerLogin),
}

impl StepKind {
    /// Returns the source that the step changes at its server.
    pub fn changed_source(&self) -> Option<&str> {
        match self {
            Self::Command(_) | Self::DockerLogin(_) => None,
            Self::MergeBranch(step) => Some(&step.source),
            Self::DeleteBranch(step) => Some(&step.source),
            Self::AddGitTag(step) => Some(&step.source),
        }
    }
}

/// One entry of `steps`.
pub(crate) static STEP: Table = Table {
    what: "a step",
    keys: &[
        Key::new("name", Shape::Text, "What people call it."),
        Key::new("step", Shape::OneOf(NAMES), "What it does."),
        Key::new("workspace", Shape::Text, "The source in whose folder it starts."),
        Key::new("with", Shape::Any, "The step's own fields."),
        Key::not_run("plugins"),
        Key::not_run("condition"),
        Key::not_run("driven"),
        Key::not_run("timeoutMinutes"),
    ],
};

/// Returns each step with the keys of its `with`.
pub(crate) fn tables() -> [(&'static str, &'static Table); 5] {
    [
        ("Command", &command::WITH),
        ("MergeBranch", &merge_branch::WITH),
        ("DeleteBranch", &delete_branch::WITH),
        ("AddGitTag", &add_git_tag::WITH),
        ("DockerLogin", &docker_login::WITH),
    ]
}

/// What a step may refer to.
pub(crate) struct Context<'d> {
    pub(crate) definition: &'d Definition,
    /// Ids of the sources that the job downloads.
    pub(crate) sources: &'d [String],
    /// The source that the job starts in.
    pub(crate) workspace: Option<&'d str>,
}

impl Context<'_> {
    /// Reads `source`: any source of the pipeline, downloaded or not; the job's workspace when absent.
    fn source_of(&self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<String> {
        let ids = self.definition.sources.iter().map(|source| source.id.as_str());
        let chosen = reader.text_of(fields, "source").filter(|text| !text.is_empty());
        if let Some(text) = chosen {
            if !ids.clone().any(|id| id == text) {
                let at = fields.place("source");
                reader.inside("source", |reader| {
                    unknown_reference(reader, at, "source", &text, ids);
                });
            }
            return Some(text);
        }
        let default = self.workspace.or(self.definition.default_workspace.as_deref());
        if default.is_none() {
            let message = "`source` is missing, and the job has no workspace to take it from";
            reader.note(fields.place("source"), code::MISSING_KEY, message);
        }
        default.map(str::to_owned)
    }
}

/// Reads `steps` of a job.
pub(crate) fn read(
    reader: &mut Reader<'_>,
    node: Option<&Node>,
    context: &Context<'_>,
) -> Vec<Step> {
    let Some(node) = node else { return Vec::new() };
    let entries = reader.entries(node, "steps by id");
    entries
        .into_iter()
        .filter_map(|(name, node)| {
            reader.id(name, "a step");
            reader.inside(&name.text, |reader| read_one(reader, &name.text, node, context))
        })
        .collect()
}

fn read_one(reader: &mut Reader<'_>, id: &str, node: &Node, context: &Context<'_>) -> Option<Step> {
    let fields = reader.fields(node, &STEP);
    let name = reader.text_of(&fields, "name").unwrap_or_else(|| id.to_owned());
    let workspace = read_workspace(reader, &fields, context);
    let step = read_step_name(reader, &fields)?;
    let nothing = Node { at: fields.at, value: Value::Null };
    let with = fields.get("with").unwrap_or(&nothing);
    let (kind, connections) = reader.inside("with", |reader| match step {
        "Command" => command::read(reader, with),
        "MergeBranch" => merge_branch::read(reader, with, context),
        "DeleteBranch" => delete_branch::read(reader, with, context),
        "AddGitTag" => add_git_tag::read(reader, with, context),
        _ => docker_login::read(reader, with),
    })?;
    Some(Step { id: id.to_owned(), name, workspace, kind, connections })
}

fn read_workspace(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    context: &Context<'_>,
) -> Option<String> {
    let chosen = reader.text_of(fields, "workspace").filter(|text| !text.is_empty());
    let Some(chosen) = chosen else { return context.workspace.map(str::to_owned) };
    if !context.sources.contains(&chosen) {
        let at = fields.place("workspace");
        let names = context.sources.iter().map(String::as_str);
        reader.inside("workspace", |reader| {
            unknown_reference(reader, at, "source that this job downloads called", &chosen, names);
        });
    }
    Some(chosen)
}

/// Reads `step`, in any letter case.
fn read_step_name(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<&'static str> {
    let text = reader.required(fields, "step")?;
    let at = fields.place("step");
    let same = |name: &&&str| name.eq_ignore_ascii_case(text.trim());
    if let Some(name) = NAMES.iter().find(same) {
        return Some(name);
    }
    reader.inside("step", |reader| {
        if let Some(name) = catalogue::KNOWN.iter().find(same) {
            let runs: Vec<String> = NAMES.iter().map(|name| format!("`{name}`")).collect();
            let hint = format!("steps that run today: {}", runs.join(", "));
            reader.not_run(at, &format!("the step `{name}`"), Some(hint));
        } else {
            let hint = did_you_mean(&text, NAMES.iter().chain(catalogue::KNOWN).copied());
            let message = format!("there is no step {}", quote(&text));
            reader.note_with(at, code::UNKNOWN_STEP, message, hint);
        }
    });
    None
}

/// Reads the name of a branch or tag that may hold `${NAME}`.
fn ref_name(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str) -> Option<String> {
    let text = reader.required(fields, key)?;
    if !text.contains('$') && !crate::definition::is_branch_name(&text) {
        let message = format!("{} is not the name of a branch or tag", quote(&text));
        let at = fields.place(key);
        reader.inside(key, |reader| reader.note(at, code::WRONG_VALUE, message));
    }
    Some(text)
}

/// Reads a commit, in full or `${NAME}`.
fn commit_of(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str) -> Option<String> {
    let text = reader.text_of(fields, key).filter(|text| !text.is_empty())?;
    let is_hash = matches!(text.len(), 40 | 64) && text.chars().all(|one| one.is_ascii_hexdigit());
    if !is_hash && !text.contains('$') {
        let message = format!("{} is not a commit; write all 40 characters of it", quote(&text));
        let at = fields.place(key);
        reader.inside(key, |reader| reader.note(at, code::WRONG_VALUE, message));
    }
    Some(text)
}

/// Reads a connection's ID that stands in a key of its own.
fn connection_of(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    key: &str,
) -> Option<StepConnection> {
    let text = reader.required(fields, key)?;
    let at = fields.place(key);
    connection_at(reader, key, key, &text, at)
}

fn connection_at(
    reader: &mut Reader<'_>,
    key: &str,
    name: &str,
    text: &str,
    at: Position,
) -> Option<StepConnection> {
    let connection = reader
        .inside(key, |reader| crate::definition::sources::connection_name(reader, text, at))?;
    Some(StepConnection { name: name.to_owned(), connection })
}
