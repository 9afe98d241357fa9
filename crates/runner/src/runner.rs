//! The runner: claims jobs and starts them, as many at once as it is told.

use std::sync::Arc;
use std::time::Duration;

use keyferry_api::client::{Client, ClientError};
use keyferry_api::runner::ClaimJob;
use keyferry_domain::run::Isolation;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::family::{reap_orphans, take_in_orphans};
use crate::isolation::{Confinement, protect_this_process};
use crate::job::{self, Shared};
use crate::process::inheritable_descriptors;
use crate::settings::Settings;
use crate::workspace;

/// How long one ask for a job waits at the server. Short, so that stopping a runner is quick: an ask
/// is always waited for, since a job could be on its way.
const CLAIM_WAIT_SECONDS: u32 = 5;

/// How long stopped jobs may take, beyond their processes' grace, to deliver logs and results.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// The longest pause between asks while the server is away.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// The runner does not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// Jobs cannot be kept apart, and that was asked for.
    #[error("keep jobs apart, which was required: {reason}")]
    NotIsolated {
        /// What is missing on this machine.
        reason: String,
    },
    /// The work folder cannot be used.
    #[error("use the work folder `{path}`")]
    WorkFolder {
        /// The folder.
        path: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The helper binary is not where it was said to be.
    #[error("find the helper binary `{path}`")]
    Helper {
        /// The path.
        path: String,
    },
    /// This process cannot be protected from others of the same user.
    #[error("protect this process")]
    Protect(#[source] std::io::Error),
    /// The server does not take this runner's token.
    #[error("claim a job")]
    Refused(#[source] ClientError),
}

/// Executes jobs until it is told to stop.
#[derive(Debug)]
pub struct Runner {
    settings: Settings,
    client: Client,
}

impl Runner {
    /// Makes a runner; `client` speaks with the runner's token.
    pub const fn new(settings: Settings, client: Client) -> Self {
        Self { settings, client }
    }

    /// Claims and executes jobs until `shutdown`; then the jobs at hand are stopped, reported as
    /// failed, and cleaned up before this returns.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), RunnerError> {
        self.prepare()?;
        let confinement = Arc::new(Confinement::probe(&self.settings).await);
        match confinement.weakness() {
            Some(reason) if self.settings.require_isolation => {
                return Err(RunnerError::NotIsolated { reason: reason.to_owned() });
            }
            Some(reason) => warn!(reason, "jobs run without namespaces of their own"),
            None => info!("jobs run in namespaces of their own"),
        }
        // In this order: an undumpable process cannot read its own /proc when it is not root.
        let leaked_descriptors = inheritable_descriptors().into();
        protect_this_process().map_err(RunnerError::Protect)?;
        let isolation = confinement.isolation();
        let reaper = match isolation {
            Isolation::Namespaces => None,
            Isolation::Process => {
                take_in_orphans().map_err(RunnerError::Protect)?;
                Some(tokio::spawn(reap()))
            }
        };
        let shared = Arc::new(Shared {
            settings: self.settings,
            client: self.client,
            confinement,
            leaked_descriptors,
        });
        let mut jobs = JoinSet::new();
        let outcome = claim(&shared, isolation, &mut jobs, &shutdown).await;
        if outcome.is_err() {
            shutdown.cancel();
        }
        let limit = shared.settings.stop_grace + LAST_WORDS;
        let all_over = async { while jobs.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all_over).await.is_err() {
            warn!("some jobs could not be reported; the server will find them lost");
            jobs.shutdown().await;
        }
        if let Some(reaper) = reaper {
            reaper.abort();
        }
        outcome
    }

    fn prepare(&mut self) -> Result<(), RunnerError> {
        let path = self.settings.work_folder.display().to_string();
        let folder = |source| RunnerError::WorkFolder { path: path.clone(), source };
        workspace::prepare(&self.settings.work_folder).map_err(folder)?;
        // Links in the path would show jobs another folder than the one that is bound for them.
        self.settings.work_folder = self.settings.work_folder.canonicalize().map_err(folder)?;
        self.settings.helper_binary = self.settings.helper_binary.canonicalize().map_err(|_| {
            RunnerError::Helper { path: self.settings.helper_binary.display().to_string() }
        })?;
        Ok(())
    }
}

/// Lets go of dead orphans, of which a long step can make many.
async fn reap() {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        reap_orphans();
    }
}

async fn claim(
    shared: &Arc<Shared>,
    isolation: Isolation,
    jobs: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> Result<(), RunnerError> {
    let slots = Arc::new(Semaphore::new(shared.settings.parallel_jobs.max(1)));
    let mut pause = Duration::from_millis(200);
    loop {
        let slot = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        while jobs.try_join_next().is_some() {}
        if shutdown.is_cancelled() {
            return Ok(());
        }
        let body = ClaimJob { isolation, wait_seconds: CLAIM_WAIT_SECONDS };
        match shared.client.claim_job(&body).await {
            Ok(claimed) => {
                pause = Duration::from_millis(200);
                let Some(claimed) = claimed else { continue };
                let (shared, shutdown) = (Arc::clone(shared), shutdown.clone());
                jobs.spawn(async move {
                    job::run(shared, claimed, shutdown).await;
                    drop(slot);
                });
            }
            Err(error) if matches!(error.problem().map(|one| one.status), Some(401 | 403)) => {
                return Err(RunnerError::Refused(error));
            }
            Err(error) => {
                warn!(%error, "no answer to the ask for a job");
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}
