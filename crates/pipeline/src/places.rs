//! Where a pipeline names connections, and what an approval of each place covers.
//!
//! A place is a source or a job. Its canonical text holds everything that decides what happens with
//! the connection there; the broker stores the text's hash with the approval, and asks again when it
//! changes. Names that only people read are left out, so renaming a job asks nobody.

use std::collections::BTreeMap;

use keyferry_domain::connection::ConnectionId;
use serde::Serialize;

use crate::definition::{ConnectionName, Definition, Job, JobKey, Source, Variable};
use crate::diagnostic::{Diagnostic, MOST_DIAGNOSTICS, code, did_you_mean, quote};
use crate::steps::StepKind;

/// One source or job that names connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `sources.<id>` or `stages.<stage>.jobs.<job>`.
    pub path: String,
    /// Which of the two.
    pub kind: PlaceKind,
    /// The connections it names, in the order of the text; at least one.
    pub connections: Vec<ConnectionUse>,
    /// The text that an approval covers. Deterministic, never shown to users.
    pub canonical: String,
}

/// What a place is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlaceKind {
    /// A source, by its id.
    Source(String),
    /// A job.
    Job(JobKey),
}

/// One use of a connection in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionUse {
    /// The ID as written.
    pub id: String,
    /// What the place calls it: the source's id, the name under `connections`, or the key.
    pub name: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// What for.
    pub purpose: Purpose,
}

/// What a place uses a connection for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Downloading a source.
    Clone,
    /// Changing branches or tags of a source's repository, by a step.
    ChangeRepository,
    /// Logging in to an image registry.
    RegistryLogin,
    /// Whatever the tools of a script ask for.
    Command,
}

/// A connection that exists in the organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownConnection {
    /// Its ID.
    pub id: String,
    /// Its type: `git`, `gitea`, …; empty when it was not looked up, which is enough to suggest it.
    pub kind: String,
    /// Whether the author may know of it. Others are no mistake, and are never suggested.
    pub is_visible: bool,
}

/// Types of connection that open a Git repository.
const GIT_KINDS: &[&str] =
    &["git", "gitea", "github", "gitlab", "custom_gitlab", "gitee", "bitbucket", "codeup", "ssh"];

/// Types of connection that open an image registry.
const REGISTRY_KINDS: &[&str] = &["private_docker_registry", "gitea"];

impl Purpose {
    fn kinds(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Clone | Self::ChangeRepository => Some(GIT_KINDS),
            Self::RegistryLogin => Some(REGISTRY_KINDS),
            Self::Command => None,
        }
    }

    const fn described(self) -> &'static str {
        match self {
            Self::Clone => "download a source",
            Self::ChangeRepository => "change a source's repository",
            Self::RegistryLogin => "log in to an image registry",
            Self::Command => "serve a script",
        }
    }
}

/// What the canonical text of a job holds.
#[derive(Serialize)]
struct CanonicalJob<'d> {
    version: u8,
    job: JobKey,
    needs: &'d [JobKey],
    condition: Option<&'d str>,
    timeout_minutes: u32,
    workspace: Option<&'d str>,
    steps: Vec<CanonicalStep<'d>>,
    variables: Vec<&'d Variable>,
    sources: Vec<&'d Source>,
    changed_sources: Vec<&'d Source>,
}

#[derive(Serialize)]
struct CanonicalStep<'d> {
    id: &'d str,
    workspace: Option<&'d str>,
    kind: &'d StepKind,
    connections: Vec<(&'d str, &'d ConnectionName)>,
}

#[derive(Serialize)]
struct CanonicalSource<'d> {
    version: u8,
    source: &'d Source,
    /// Only those that decide the branch.
    variables: Vec<&'d Variable>,
    /// The canonical text of every job that downloads it. What such a job runs can read the
    /// repository, and can ask for the access that the download takes.
    jobs: Vec<String>,
}

impl Definition {
    /// Returns every place that names a connection, sources first, in the order of the text.
    pub fn places(&self) -> Vec<Place> {
        let sources = self.sources.iter().filter_map(|source| self.source_place(source));
        let jobs = self.jobs().filter_map(|(key, stage, job)| {
            let path = format!("stages.{}.jobs.{}", stage.id, job.id);
            let connections = self.job_connections(job);
            (!connections.is_empty()).then(|| Place {
                path,
                canonical: self.canonical_job(&key, job),
                kind: PlaceKind::Job(key),
                connections,
            })
        });
        sources.chain(jobs).collect()
    }

    /// Checks every connection that the text names: it must exist, and its type must fit the place.
    pub fn check_connections(&self, known: &[KnownConnection]) -> Vec<Diagnostic> {
        let by_id: BTreeMap<&str, &KnownConnection> =
            known.iter().map(|connection| (connection.id.as_str(), connection)).collect();
        let mut diagnostics = Vec::new();
        for place in self.places() {
            for usage in &place.connections {
                // Looking for near names among thousands takes its time; nobody reads so many.
                if diagnostics.len() >= MOST_DIAGNOSTICS {
                    break;
                }
                let problem = match by_id.get(usage.id.as_str()) {
                    None => Some(unknown(usage, known)),
                    Some(connection) => wrong_kind(usage, connection, known),
                };
                let Some((code, message, hint)) = problem else { continue };
                let at = crate::diagnostic::Position { line: usage.line, column: usage.column };
                let path = place.path.clone();
                diagnostics.push(Diagnostic::new(&self.text, at, path, code, message, hint));
            }
        }
        sorted_once(diagnostics)
    }

    /// Checks what can be known of connection IDs without asking anyone: their spelling.
    pub fn check_connection_spelling(&self) -> Vec<Diagnostic> {
        let mut diagnostics = Vec::new();
        for place in self.places() {
            for usage in &place.connections {
                if usage.id.parse::<ConnectionId>().is_ok() {
                    continue;
                }
                let at = crate::diagnostic::Position { line: usage.line, column: usage.column };
                let message = format!("{} cannot be a connection's ID", quote(&usage.id));
                let hint = "an ID has 3 to 64 lower-case letters, digits and hyphens".to_owned();
                let (path, code) = (place.path.clone(), code::UNKNOWN_CONNECTION);
                diagnostics.push(Diagnostic::new(&self.text, at, path, code, message, Some(hint)));
            }
        }
        sorted_once(diagnostics)
    }

    fn source_place(&self, source: &Source) -> Option<Place> {
        let connection = source.connection.as_ref()?;
        let variables = self
            .variables
            .iter()
            .filter(|variable| source.branch.contains(&variable.key))
            .collect();
        let jobs = self
            .jobs()
            .filter(|(_, _, job)| job.sources.contains(&source.id))
            .map(|(key, _, job)| self.canonical_job(&key, job))
            .collect();
        Some(Place {
            path: format!("sources.{}", source.id),
            kind: PlaceKind::Source(source.id.clone()),
            connections: vec![usage(connection, &source.id, Purpose::Clone)],
            canonical: canonical(&CanonicalSource { version: 2, source, variables, jobs }),
        })
    }

    /// Returns the connections that a job's steps use, each purpose once.
    pub(crate) fn job_connections(&self, job: &Job) -> Vec<ConnectionUse> {
        let mut connections: Vec<ConnectionUse> = Vec::new();
        let mut add = |one: ConnectionUse| {
            let is_new = !connections.iter().any(|other| {
                (&other.id, &other.name, other.purpose) == (&one.id, &one.name, one.purpose)
            });
            if is_new {
                connections.push(one);
            }
        };
        for step in &job.steps {
            let purpose = match step.kind {
                StepKind::DockerLogin(_) => Purpose::RegistryLogin,
                _ => Purpose::Command,
            };
            for named in &step.connections {
                add(usage(&named.connection, &named.name, purpose));
            }
            let changed = step.kind.changed_source().and_then(|id| self.find_source(id));
            if let Some(source) = changed
                && let Some(connection) = &source.connection
            {
                add(usage(connection, &source.id, Purpose::ChangeRepository));
            }
        }
        connections
    }

    fn canonical_job(&self, key: &JobKey, job: &Job) -> String {
        let mut variables: Vec<&Variable> = self.variables.iter().collect();
        variables.sort_by(|left, right| left.key.cmp(&right.key));
        let mut needs = job.needs.clone();
        needs.sort();
        canonical(&CanonicalJob {
            version: 1,
            job: key.clone(),
            needs: &needs,
            condition: job.condition.as_deref(),
            timeout_minutes: job.timeout_minutes,
            workspace: job.workspace.as_deref(),
            steps: job
                .steps
                .iter()
                .map(|step| CanonicalStep {
                    id: &step.id,
                    workspace: step.workspace.as_deref(),
                    kind: &step.kind,
                    connections: step
                        .connections
                        .iter()
                        .map(|one| (one.name.as_str(), &one.connection))
                        .collect(),
                })
                .collect(),
            variables,
            sources: job.sources.iter().filter_map(|id| self.find_source(id)).collect(),
            changed_sources: job
                .steps
                .iter()
                .filter_map(|step| step.kind.changed_source())
                .filter_map(|id| self.find_source(id))
                .collect(),
        })
    }
}

/// Sorts by place. A source's connection is named once in the text and used by each step that
/// changes it; it is told once.
fn sorted_once(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by_key(|one| (one.line, one.column));
    diagnostics.dedup_by_key(|one| (one.line, one.column, one.code));
    diagnostics
}

/// Returns one spelling of the value: JSON with fields in the order of their declaration.
fn canonical(value: &impl Serialize) -> String {
    // INVARIANT: the types above have text keys and no custom serialization, which cannot fail; an
    // empty text would match no approval, since the broker never stores one for it.
    serde_json::to_string(value).unwrap_or_default()
}

fn usage(connection: &ConnectionName, name: &str, purpose: Purpose) -> ConnectionUse {
    let ConnectionName { text, at } = connection;
    ConnectionUse {
        id: text.clone(),
        name: name.to_owned(),
        line: at.line,
        column: at.column,
        purpose,
    }
}

type Problem = (&'static str, String, Option<String>);

fn unknown(usage: &ConnectionUse, known: &[KnownConnection]) -> Problem {
    let fitting = |connection: &&KnownConnection| {
        let KnownConnection { kind, .. } = connection;
        kind.is_empty() || usage.purpose.kinds().is_none_or(|kinds| kinds.contains(&kind.as_str()))
    };
    let names = known
        .iter()
        .filter(|one| one.is_visible)
        .filter(fitting)
        .map(|connection| connection.id.as_str());
    let message = format!("there is no connection {}", quote(&usage.id));
    let hint = look_alikes(&usage.id, names.clone())
        .map(|id| format!("did you mean `{id}`?"))
        .or_else(|| did_you_mean(&usage.id, names));
    (code::UNKNOWN_CONNECTION, message, hint)
}

/// Finds the one ID that differs only by characters that look alike or by letter case.
fn look_alikes<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let folded = |text: &str| -> String {
        text.to_lowercase()
            .chars()
            .map(|one| match one {
                'l' | 'i' => '1',
                'o' => '0',
                other => other,
            })
            .collect()
    };
    let wanted = folded(text);
    let mut found = names.filter(|name| folded(name) == wanted);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

fn wrong_kind(
    usage: &ConnectionUse,
    connection: &KnownConnection,
    known: &[KnownConnection],
) -> Option<Problem> {
    let kinds = usage.purpose.kinds()?;
    if kinds.contains(&connection.kind.as_str()) {
        return None;
    }
    let (id, purpose) = (quote(&usage.id), usage.purpose.described());
    let message = if connection.is_visible {
        let kind = &connection.kind;
        format!("the connection {id} has the type `{kind}`, which cannot {purpose}")
    } else {
        format!("the connection {id} has a type that cannot {purpose}")
    };
    let fitting: Vec<String> = known
        .iter()
        .filter(|other| other.is_visible && kinds.contains(&other.kind.as_str()))
        .take(5)
        .map(|other| format!("`{}`", other.id))
        .collect();
    let hint = if fitting.is_empty() {
        let kinds: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
        format!("types that can: {}", kinds.join(", "))
    } else {
        format!("connections that can: {}", fitting.join(", "))
    };
    Some((code::WRONG_CONNECTION_TYPE, message, Some(hint)))
}
