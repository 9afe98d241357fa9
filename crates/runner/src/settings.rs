//! What a runner has to be told. Binaries fill this in; nothing here reads the environment.

use std::path::PathBuf;
use std::time::Duration;

/// How a runner works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where jobs get their folders. Private to this runner; wiped at its start.
    pub work_folder: PathBuf,
    /// The `keyferry` binary, which jobs find under the names of the helpers.
    pub helper_binary: PathBuf,
    /// How many jobs run at once; at least 1.
    pub parallel_jobs: usize,
    /// Refuses to run jobs where they cannot be kept apart by namespaces.
    pub require_isolation: bool,
    /// Keeps jobs apart by namespaces where the machine can; off only where it hurts, in containers
    /// that forbid it in odd ways.
    pub use_namespaces: bool,
    /// The longest that a job may take, whatever its pipeline says.
    pub job_time_limit: Option<Duration>,
    /// What no job may see even where it lies below a folder that jobs see: the server's data, the
    /// root key, the runner's own token.
    pub hidden_paths: Vec<PathBuf>,
    /// Folders and files that jobs see beside the system's own, read-only: toolchains, say.
    pub visible_paths: Vec<PathBuf>,
    /// A bundle of certificates in PEM that the job's tools trust instead of the system's.
    pub ca_bundle: Option<PathBuf>,
    /// Folders in front of the usual ones in `PATH`.
    pub extra_path: Vec<PathBuf>,
    /// How long processes get between TERM and KILL.
    pub stop_grace: Duration,
    /// How long a job goes on while the server is away.
    pub server_away_limit: Duration,
}

impl Settings {
    /// Returns settings with the usual values.
    pub fn new(work_folder: PathBuf, helper_binary: PathBuf) -> Self {
        Self {
            work_folder,
            helper_binary,
            parallel_jobs: 2,
            require_isolation: false,
            use_namespaces: true,
            job_time_limit: None,
            hidden_paths: Vec::new(),
            visible_paths: Vec::new(),
            ca_bundle: None,
            extra_path: Vec::new(),
            stop_grace: Duration::from_secs(10),
            server_away_limit: Duration::from_mins(10),
        }
    }
}
