//! The runner inside the server.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

/// The section as typed.
#[derive(Default, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RunnerArgs {
    /// Run jobs inside the server too.
    #[arg(long, env = "KEYFERRY_WITH_RUNNER", global = true)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    with_runner: bool,

    /// Jobs at the same time [default: 2].
    #[arg(long, env = "KEYFERRY_RUNNER_JOBS", value_name = "NUMBER", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    runner_jobs: Option<u16>,

    /// Refuse to run jobs without bubblewrap's namespaces.
    #[arg(long, env = "KEYFERRY_REQUIRE_ISOLATION", global = true)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    require_isolation: bool,

    /// Program `keyferry`, which jobs find as their credential helpers [default: beside this one].
    #[arg(long, env = "KEYFERRY_PROGRAM", value_name = "FILE", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    keyferry_program: Option<PathBuf>,

    /// Certificates in PEM that the jobs' tools trust instead of the system's: for services with a
    /// private certificate authority.
    #[arg(long, env = "KEYFERRY_JOB_CA_BUNDLE", value_name = "FILE", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    job_ca_bundle: Option<PathBuf>,

    /// Folder for the jobs' workspaces [default: work in --data-dir].
    #[arg(long, env = "KEYFERRY_RUNNER_WORK_DIR", value_name = "FOLDER", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    runner_work_dir: Option<PathBuf>,
}

/// The section as it holds.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the flags say it")]
pub struct RunnerSettings {
    pub is_enabled: bool,
    pub jobs: u16,
    pub require_isolation: bool,
    pub keyferry_program: Option<PathBuf>,
    pub job_ca_bundle: Option<PathBuf>,
    pub work_dir: PathBuf,
}

impl RunnerArgs {
    pub(super) fn resolve(self, data_dir: &Path) -> RunnerSettings {
        RunnerSettings {
            is_enabled: self.with_runner,
            jobs: self.runner_jobs.unwrap_or(2).max(1),
            require_isolation: self.require_isolation,
            keyferry_program: self.keyferry_program,
            job_ca_bundle: self.job_ca_bundle,
            work_dir: self.runner_work_dir.unwrap_or_else(|| data_dir.join("work")),
        }
    }
}
