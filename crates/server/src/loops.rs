//! Background loops: what is due is found in the database, claimed there, and done.
//!
//! Nothing is kept between rounds, so a loop that fails tries again, and a server that dies leaves
//! its work to the next.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use keyferry_api::client::Client;
use keyferry_broker::Broker;
use keyferry_broker::runners::NewRunner;
use keyferry_domain::id::RunnerId;
use keyferry_runner::Runner;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::settings::{RootKeySettings, Settings};

/// How long the checks of connections rest when none is due.
const CHECK_PAUSE: Duration = Duration::from_secs(15);

const SWEEP_INTERVAL: Duration = Duration::from_secs(2);

/// Starts every loop; they end with `shutdown`.
pub(crate) fn start(broker: &Arc<Broker>, shutdown: CancellationToken) -> TaskTracker {
    let loops = TaskTracker::new();
    loops.spawn(take_back_leases(Arc::clone(broker), shutdown.clone()));
    loops.spawn(check_connections(Arc::clone(broker), shutdown.clone()));
    loops.spawn(sweep(Arc::clone(broker), shutdown));
    loops.close();
    loops
}

/// Takes back what was minted for ended leases, within a second or two of their end.
async fn take_back_leases(broker: Arc<Broker>, shutdown: CancellationToken) {
    loop {
        match broker.sweep_leases(&broker.system_actor()).await {
            // A full batch means that more are waiting.
            Ok(count) if count > 0 => {}
            Ok(_) => {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = broker.wait_for_ended_leases() => {}
                }
            }
            Err(error) => {
                tracing::error!(?error, "take back leases");
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(SWEEP_INTERVAL) => {}
                }
            }
        }
        if shutdown.is_cancelled() {
            return;
        }
    }
}

/// Finds what else is due: workloads, runs whose runner was lost, versions to wipe, old keys.
async fn sweep(broker: Arc<Broker>, shutdown: CancellationToken) {
    loop {
        let actor = broker.system_actor();
        for (what, outcome) in [
            ("workloads", broker.sweep_workloads(&actor).await),
            ("runs", broker.sweep_runs(&actor).await),
            ("credentials", broker.sweep_credentials(&actor).await),
            ("idempotency keys", broker.sweep_idempotency_keys(&actor).await),
        ] {
            if let Err(error) = outcome {
                tracing::error!(?error, "sweep {what}");
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
        }
    }
}

/// Tries connections whose check is due. It is a loop of its own: a slow service holds up nothing
/// but other checks.
async fn check_connections(broker: Arc<Broker>, shutdown: CancellationToken) {
    let work = async {
        if let Err(error) = broker.schedule_checks(&broker.system_actor()).await {
            tracing::error!(?error, "schedule checks of connections");
        }
        loop {
            match broker.check_due_connections(&broker.system_actor()).await {
                // More may be waiting.
                Ok(count) if count > 0 => {}
                Ok(_) => tokio::time::sleep(CHECK_PAUSE).await,
                Err(error) => {
                    tracing::error!(?error, "check connections");
                    tokio::time::sleep(CHECK_PAUSE).await;
                }
            }
        }
    };
    // A check that is cut off has changed nothing, and is due again when its claim is over.
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = work => {}
    }
}

/// The runner inside the server, at work.
pub(crate) struct EmbeddedRunner {
    id: RunnerId,
    work: JoinHandle<()>,
}

impl EmbeddedRunner {
    /// Returns when it has ended its jobs, and deletes it. Its token dies with it.
    pub(crate) async fn stopped(self, broker: &Broker) -> Result<()> {
        self.work.await.context("stop the runner")?;
        let stopped = broker.stop_embedded_runner(&broker.system_actor(), &self.id).await;
        stopped.context("delete the runner inside the server")
    }
}

/// Starts the runner inside the server. It speaks the public API at `url`, like any other runner.
pub(crate) async fn start_runner(
    broker: &Broker,
    settings: &Settings,
    url: &str,
    shutdown: CancellationToken,
) -> Result<EmbeddedRunner> {
    let program = match &settings.runner.keyferry_program {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("find this program")?.with_file_name("keyferry"),
    };
    if !program.is_file() {
        bail!(
            "find the program `keyferry` at {}, which jobs use as their credential helper; give it \
             with --keyferry-program",
            program.display()
        );
    }
    let NewRunner { token, record } = broker.start_embedded_runner(&broker.system_actor()).await?;
    let client = Client::new(url, Some(token), &[]).context("make the runner's client")?;
    let mut options = keyferry_runner::Settings::new(settings.runner.work_dir.clone(), program);
    options.parallel_jobs = settings.runner.jobs.into();
    options.require_isolation = settings.runner.require_isolation;
    options.ca_bundle.clone_from(&settings.runner.job_ca_bundle);
    options.hidden_paths = vec![settings.data_dir.clone()];
    if let RootKeySettings::File(path) | RootKeySettings::DefaultFile(path) = &settings.root_key {
        options.hidden_paths.push(path.clone());
    }
    options.hidden_paths.extend(settings.listen.tls.iter().map(|tls| tls.key.clone()));
    let runner = Runner::new(options, client);
    let work = tokio::spawn(async move {
        if let Err(error) = runner.run(shutdown).await {
            tracing::error!(?error, "the runner inside the server ended");
        }
    });
    Ok(EmbeddedRunner { id: record.id, work })
}
