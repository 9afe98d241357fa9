//! What one run does: the definition with everything filled in that is known before it starts.
//!
//! A plan is data. The broker stores it, `machine` says which job is next, a runner receives the
//! [`JobPlan`]s it executes. No secret is ever in it.

use std::collections::{BTreeMap, BTreeSet};

use keyferry_domain::Timestamp;
use keyferry_domain::connection::ConnectionId;
use serde::{Deserialize, Serialize};

use crate::definition::{Definition, Job, JobKey, Source, is_branch_name, is_variable_name};
use crate::diagnostic::clean;
use crate::places::Purpose;
use crate::steps::StepKind;
use crate::substitution::{UnknownVariable, substitute};

/// What a run is started with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunInputs {
    /// Variables given for this run; stronger than those of the text.
    pub variables: BTreeMap<String, String>,
    /// The branch, tag or commit to use, by source id.
    pub branches: BTreeMap<String, String>,
    /// `PIPELINE_ID`.
    pub pipeline_id: String,
    /// `PIPELINE_NAME`.
    pub pipeline_name: String,
    /// `BUILD_NUMBER`: counts the runs of the pipeline from 1.
    pub build_number: u64,
    /// `BUILD_REMARK`: what the starter wrote; also `BUILD_MESSAGE`.
    pub remark: String,
    /// `BUILD_EXECUTOR`: who started it.
    pub executor: String,
    /// `TIMESTAMP` and `DATETIME`: when it was started.
    pub started_at: Timestamp,
}

/// What one run does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPlan {
    /// Stages in the order in which they run.
    pub stages: Vec<StagePlan>,
    /// Every job, in the order of the text.
    pub jobs: Vec<JobPlan>,
}

/// One stage of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagePlan {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its jobs.
    pub jobs: Vec<JobKey>,
}

/// What a runner needs to know of one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlan {
    /// `stage.job`; unique in the run.
    pub id: JobKey,
    /// The id of its stage.
    pub stage: String,
    /// What people call it.
    pub name: String,
    /// Jobs that must end before.
    pub needs: Vec<JobKey>,
    /// When it runs; see `condition`.
    pub condition: Option<String>,
    /// How long it may run.
    pub timeout_minutes: u32,
    /// The machine group that Flow would use.
    pub runs_on: Option<String>,
    /// Sources to download, in the order that numbers the `CI_…` variables.
    pub sources: Vec<SourcePlan>,
    /// The source whose folder is `PROJECT_DIR`.
    pub workspace: Option<String>,
    /// Steps in order.
    pub steps: Vec<StepPlan>,
    /// Variables that every step sees, built-in ones included, without those of the sources; see
    /// [`source_variables`].
    pub variables: BTreeMap<String, String>,
    /// Connections that the job may ask for.
    pub connections: Vec<ConnectionPlan>,
    /// Sources that its steps change at their servers; they need not be downloaded.
    pub changed_sources: Vec<SourcePlan>,
}

/// One source to download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePlan {
    /// Its id; also the folder's name.
    pub id: String,
    /// `CI_SOURCE_NAME`.
    pub name: String,
    /// The repository's address.
    pub endpoint: String,
    /// The branch, tag or commit.
    pub branch: String,
    /// How many commits of history; 0 is all.
    pub clone_depth: u32,
    /// Whether submodules are cloned too.
    pub submodules: bool,
    /// The connection that opens it.
    pub connection: Option<ConnectionId>,
}

/// One step of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPlan {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The source in whose folder it starts.
    pub workspace: Option<String>,
    /// What it does. Fields that take `${NAME}` are replaced by the runner, which knows the commits;
    /// see [`substitute`].
    pub kind: StepKind,
    /// The connections it names: what it calls them, and their IDs.
    pub connections: BTreeMap<String, ConnectionId>,
}

/// One connection that a job may ask for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConnectionPlan {
    /// Its ID.
    pub id: ConnectionId,
    /// What the job calls it: a source's id, a name under `connections`, or `serviceConnection`.
    /// Two steps may use one name for two connections; see [`StepPlan::connections`].
    pub name: String,
    /// What for.
    pub purpose: Purpose,
    /// The source that it opens, for `clone` and `change_repository`.
    pub source: Option<String>,
}

/// The run cannot be planned with these inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A branch is given for a source that the pipeline does not have.
    #[error("use a branch for the source `{source_id}`; the pipeline has no such source")]
    UnknownSource {
        /// The id given.
        source_id: String,
    },
    /// A source's branch is not a name that Git takes.
    #[error("use `{branch}` as the branch of the source `{source_id}`; Git takes no such name")]
    InvalidBranch {
        /// The source.
        source_id: String,
        /// The name, after variables were replaced.
        branch: String,
    },
    /// A source's branch holds a variable that nobody set.
    #[error("find the branch of the source `{source_id}`")]
    UnknownVariable {
        /// The source.
        source_id: String,
        /// Which variable.
        #[source]
        source: UnknownVariable,
    },
    /// A variable given for the run has a name that no shell can read, or that is reserved.
    #[error(
        "set a variable called `{name}`; names have letters, digits and `_`, and are not built-in"
    )]
    InvalidVariable {
        /// The name.
        name: String,
    },
    /// The variables given for the run hold more than 64 KiB.
    #[error("take more than 64 KiB of variables")]
    TooLarge,
    /// The text names a connection by something that is not an ID.
    #[error("use `{text}` as a connection's ID")]
    InvalidConnection {
        /// The text.
        text: String,
    },
}

/// Variables that Keyferry sets; a run cannot give them.
const BUILT_IN: &[&str] = &[
    "PIPELINE_ID",
    "PIPELINE_NAME",
    "BUILD_NUMBER",
    "BUILD_REMARK",
    "BUILD_EXECUTOR",
    "BUILD_MESSAGE",
    "PROJECT_DIR",
    "DATETIME",
    "TIMESTAMP",
];

impl Definition {
    /// Plans a run. Strongest first: built-in variables, those of the run, of a step, of the text.
    pub fn plan(&self, inputs: &RunInputs) -> Result<RunPlan, PlanError> {
        let variables = self.variables_of_run(inputs)?;
        for source_id in inputs.branches.keys() {
            if self.find_source(source_id).is_none() {
                return Err(PlanError::UnknownSource { source_id: clean(source_id) });
            }
        }
        let sources = self
            .sources
            .iter()
            .map(|source| Ok((source.id.as_str(), plan_source(source, inputs, &variables)?)))
            .collect::<Result<BTreeMap<_, _>, PlanError>>()?;
        let jobs = self
            .jobs()
            .map(|(key, stage, job)| {
                self.plan_job(key, &stage.id, job, &sources, &variables, inputs)
            })
            .collect::<Result<_, _>>()?;
        let stages = self
            .stages
            .iter()
            .map(|stage| StagePlan {
                id: stage.id.clone(),
                name: stage.name.clone(),
                jobs: stage.keys().collect(),
            })
            .collect();
        Ok(RunPlan { stages, jobs })
    }

    fn variables_of_run(&self, inputs: &RunInputs) -> Result<BTreeMap<String, String>, PlanError> {
        let mut variables: BTreeMap<String, String> =
            self.variables.iter().map(|one| (one.key.clone(), one.value.clone())).collect();
        for (name, value) in &inputs.variables {
            let is_reserved = BUILT_IN.contains(&name.as_str())
                || name.starts_with("KEYFERRY_")
                || name == "version";
            if is_reserved || !is_variable_name(name) || value.contains('\0') {
                return Err(PlanError::InvalidVariable { name: clean(name) });
            }
            variables.insert(name.clone(), value.clone());
        }
        let given = inputs.variables.values().map(String::len).sum::<usize>();
        if given > crate::definition::variables::MAXIMUM_BYTES {
            return Err(PlanError::TooLarge);
        }
        let started = inputs.started_at;
        let built_in = [
            ("PIPELINE_ID", inputs.pipeline_id.clone()),
            ("PIPELINE_NAME", inputs.pipeline_name.clone()),
            ("BUILD_NUMBER", inputs.build_number.to_string()),
            ("BUILD_REMARK", inputs.remark.clone()),
            ("BUILD_MESSAGE", inputs.remark.clone()),
            ("BUILD_EXECUTOR", inputs.executor.clone()),
            ("TIMESTAMP", (started.millis() / 1_000).to_string()),
            ("DATETIME", date_time(started)),
        ];
        variables.extend(built_in.map(|(name, value)| {
            // A process cannot be started with a NUL in its environment.
            (name.to_owned(), value.replace('\0', " "))
        }));
        Ok(variables)
    }

    fn plan_job(
        &self,
        key: JobKey,
        stage: &str,
        job: &Job,
        sources: &BTreeMap<&str, SourcePlan>,
        variables: &BTreeMap<String, String>,
        inputs: &RunInputs,
    ) -> Result<JobPlan, PlanError> {
        let pick = |id: &str| sources.get(id).cloned();
        let downloaded: Vec<SourcePlan> = job.sources.iter().filter_map(|id| pick(id)).collect();
        let changed: BTreeSet<&str> =
            job.steps.iter().filter_map(|step| step.kind.changed_source()).collect();
        let mut connections: Vec<ConnectionPlan> = downloaded
            .iter()
            .filter_map(|source| {
                Some(ConnectionPlan {
                    id: source.connection.clone()?,
                    name: source.id.clone(),
                    purpose: Purpose::Clone,
                    source: Some(source.id.clone()),
                })
            })
            .collect();
        for usage in self.job_connections(job) {
            let source = (usage.purpose == Purpose::ChangeRepository).then(|| usage.name.clone());
            let id = connection_id(&usage.id)?;
            connections.push(ConnectionPlan {
                id,
                name: usage.name,
                purpose: usage.purpose,
                source,
            });
        }
        let steps = job
            .steps
            .iter()
            .map(|step| {
                let connections = step
                    .connections
                    .iter()
                    .map(|one| Ok((one.name.clone(), connection_id(&one.connection.text)?)))
                    .collect::<Result<_, PlanError>>()?;
                Ok(StepPlan {
                    id: step.id.clone(),
                    name: step.name.clone(),
                    workspace: step.workspace.clone(),
                    kind: without_overridden(&step.kind, inputs),
                    connections,
                })
            })
            .collect::<Result<_, PlanError>>()?;
        Ok(JobPlan {
            id: key,
            stage: stage.to_owned(),
            name: job.name.clone(),
            needs: job.needs.clone(),
            condition: job.condition.clone(),
            timeout_minutes: job.timeout_minutes,
            runs_on: job.runs_on.clone(),
            sources: downloaded,
            workspace: job.workspace.clone(),
            steps,
            variables: variables.clone(),
            connections,
            changed_sources: changed.into_iter().filter_map(pick).collect(),
        })
    }
}

impl RunPlan {
    /// Finds a job.
    pub fn find_job(&self, id: &JobKey) -> Option<&JobPlan> {
        self.jobs.iter().find(|job| job.id == *id)
    }
}

/// Leaves out a step's variables that the run gives or Keyferry sets: those are stronger.
fn without_overridden(kind: &StepKind, inputs: &RunInputs) -> StepKind {
    let mut kind = kind.clone();
    if let StepKind::Command(command) = &mut kind {
        command.variables.retain(|name, _| {
            !inputs.variables.contains_key(name) && !BUILT_IN.contains(&name.as_str())
        });
    }
    kind
}

fn plan_source(
    source: &Source,
    inputs: &RunInputs,
    variables: &BTreeMap<String, String>,
) -> Result<SourcePlan, PlanError> {
    let branch =
        match inputs.branches.get(&source.id) {
            Some(branch) => branch.clone(),
            None => substitute(&source.branch, |name| variables.get(name).cloned()).map_err(
                |error| PlanError::UnknownVariable { source_id: source.id.clone(), source: error },
            )?,
        };
    if !is_branch_name(&branch) {
        let source_id = source.id.clone();
        return Err(PlanError::InvalidBranch { source_id, branch: clean(&branch) });
    }
    let connection = source.connection.as_ref().map(|one| connection_id(&one.text)).transpose()?;
    Ok(SourcePlan {
        id: source.id.clone(),
        name: source.name.clone().unwrap_or_else(|| source.id.clone()),
        endpoint: source.endpoint.clone(),
        branch,
        clone_depth: source.clone_depth,
        submodules: source.submodules,
        connection,
    })
}

fn connection_id(text: &str) -> Result<ConnectionId, PlanError> {
    text.parse().map_err(|_| PlanError::InvalidConnection { text: clean(text) })
}

/// Writes `2026-01-31-12-00-00`, in UTC.
fn date_time(moment: Timestamp) -> String {
    moment
        .to_string()
        .chars()
        .take(19)
        .map(|one| if "T:".contains(one) { '-' } else { one })
        .collect()
}

/// A source that was downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedOut {
    /// The source's id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The branch, tag or commit that was asked for.
    pub branch: String,
    /// The full hash of the commit.
    pub commit: String,
    /// The first line of the commit's message.
    pub title: String,
}

/// Returns the `CI_…` variables of a job's sources.
///
/// With one source they have no suffix. With several, each has `_1`, `_2`, … in the order of the
/// text, and those without suffix are always the workspace's: Flow leaves that open.
pub fn source_variables(
    sources: &[CheckedOut],
    workspace: Option<&str>,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut add = |source: &CheckedOut, suffix: &str| {
        let short: String = source.commit.chars().take(8).collect();
        for (name, value) in [
            ("CI_SOURCE_NAME", &source.name),
            ("CI_COMMIT_REF_NAME", &source.branch),
            ("CI_COMMIT_TITLE", &source.title),
            ("CI_COMMIT_SHA", &source.commit),
            ("CI_COMMIT_ID", &short),
        ] {
            variables.insert(format!("{name}{suffix}"), value.clone());
        }
    };
    if sources.len() > 1 {
        for (number, source) in (1..).zip(sources) {
            add(source, &format!("_{number}"));
        }
    }
    let own = sources.iter().find(|source| Some(source.id.as_str()) == workspace);
    if let Some(own) = own.or(sources.first()) {
        add(own, "");
    }
    variables
}
