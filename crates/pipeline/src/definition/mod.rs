//! The definition: what a pipeline's text says, checked and with every default filled in.
//!
//! Nothing here runs anything or knows which connections exist. `plan` turns a definition into what
//! one run does; `places` tells which connections it names and where.

mod jobs;
mod needs;
pub(crate) mod sources;
mod stages;
mod tables;
pub(crate) mod variables;

use serde::Serialize;

use crate::diagnostic::{Diagnostic, Position, code};
use crate::reader::Reader;
use crate::steps::Step;

pub use sources::is_branch_name;
pub(crate) use tables::{PIPELINE, VARIABLE};
pub(crate) use variables::is_variable_name;

/// A checked pipeline.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The pipeline's name as its text gives it.
    pub name: Option<String>,
    /// Code sources in the order of the text.
    pub sources: Vec<Source>,
    /// The source that jobs start in; the only one when there is one.
    pub default_workspace: Option<String>,
    /// Variables in the order of the text.
    pub variables: Vec<Variable>,
    /// Stages in the order in which they run.
    pub stages: Vec<Stage>,
    /// The text, for the snippets of later checks.
    pub(crate) text: String,
}

/// One source: a Git repository that jobs download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Its id; also the folder it is cloned into.
    pub id: String,
    /// What people call it; `CI_SOURCE_NAME`.
    pub name: Option<String>,
    /// The type as Flow spells it.
    pub kind: String,
    /// The repository's address, without user or password.
    pub endpoint: String,
    /// The branch that is used when a run names no other.
    pub branch: String,
    /// How many commits of history; 0 is all.
    pub clone_depth: u32,
    /// Whether submodules are cloned too.
    pub submodules: bool,
    /// The connection that opens it; `None` for a public repository.
    pub connection: Option<ConnectionName>,
}

/// A connection ID as the text names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ConnectionName {
    /// The text, which may be mistyped.
    pub text: String,
    /// Where it stands.
    #[serde(skip)]
    pub at: Position,
}

/// One variable of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variable {
    /// Its name.
    pub key: String,
    /// Its value; always text.
    pub value: String,
}

/// Jobs that run side by side, after the stages before.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its id.
    pub id: String,
    /// What people call it; the id when the text gives no name.
    pub name: String,
    /// Its jobs in the order of the text.
    pub jobs: Vec<Job>,
}

/// Steps that run one after another in one workspace.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id, unique in its stage.
    pub id: String,
    /// What people call it; the id when the text gives no name.
    pub name: String,
    /// Jobs that must end before, of this stage or an earlier one.
    pub needs: Vec<JobKey>,
    /// When it runs; see `condition`.
    pub condition: Option<String>,
    /// How long it may run.
    pub timeout_minutes: u32,
    /// The machine group that Flow would use; shown, and otherwise without effect.
    pub runs_on: Option<String>,
    /// Ids of the sources it downloads, in the order of the text.
    pub sources: Vec<String>,
    /// The source whose folder its steps start in.
    pub workspace: Option<String>,
    /// Its steps in order.
    pub steps: Vec<Step>,
}

/// Names one job of a pipeline: `stage.job`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct JobKey(String);

impl JobKey {
    /// Names a job by its stage's id and its own.
    pub fn new(stage: &str, job: &str) -> Self {
        Self(format!("{stage}.{job}"))
    }

    /// Returns `stage.job`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for JobKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The `timeoutMinutes` of a job that gives none, as in Flow.
pub const DEFAULT_TIMEOUT_MINUTES: u32 = 240;

impl Definition {
    /// Reads a pipeline's text. Returns everything that is wrong with it, not only the first.
    pub fn parse(text: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut reader = Reader::new(text);
        if let Some(at) = template_mark(text) {
            reader.not_run(at, "rendering a pipeline as a template", None);
            return Err(reader.into_diagnostics());
        }
        let node = crate::yaml::parse(text).map_err(|one| vec![*one])?;
        let definition = tables::read_pipeline(&mut reader, &node, text);
        let diagnostics = reader.into_diagnostics();
        if diagnostics.is_empty() { Ok(definition) } else { Err(diagnostics) }
    }

    /// Returns every job with its key, in the order of the text.
    pub fn jobs(&self) -> impl Iterator<Item = (JobKey, &Stage, &Job)> {
        self.stages.iter().flat_map(|stage| {
            stage.jobs.iter().map(move |job| (JobKey::new(&stage.id, &job.id), stage, job))
        })
    }

    /// Finds a source by its id.
    pub fn find_source(&self, id: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.id == id)
    }
}

/// Finds the first line's `# template=true`, which makes the text something else than YAML.
fn template_mark(text: &str) -> Option<Position> {
    let comments = text.lines().zip(1_u32..).take_while(|(line, _)| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#')
    });
    comments
        .filter(|(line, _)| {
            let words: String = line.chars().filter(|one| !one.is_whitespace()).collect();
            words.trim_start_matches('#').eq_ignore_ascii_case("template=true")
        })
        .map(|(_, line)| Position { line, column: 1 })
        .next()
}

/// Notes the name of something that is not in this file, with the nearest names that are.
pub(crate) fn unknown_reference<'a>(
    reader: &mut Reader<'_>,
    at: Position,
    what: &str,
    text: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) {
    let hint = crate::diagnostic::did_you_mean(text, names.clone()).or_else(|| {
        let all: Vec<String> = names.take(10).map(|name| format!("`{name}`")).collect();
        Some(if all.is_empty() {
            "this file has none".to_owned()
        } else {
            format!("this file has {}", all.join(", "))
        })
    });
    let message = format!("there is no {what} {}", crate::diagnostic::quote(text));
    reader.note_with(at, code::UNKNOWN_REFERENCE, message, hint);
}
