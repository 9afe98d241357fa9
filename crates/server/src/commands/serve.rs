//! `serve`: the API, the background loops, and the runner inside the server when asked for.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::{Api, AppState};
use crate::listener::{Tls, serve};
use crate::loops;
use crate::settings::Settings;

/// How long changes whose callers are gone may take to finish at shutdown.
const CHANGES_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn run(settings: Settings) -> Result<()> {
    super::start_logging(&settings)?;
    keyferry_runner::isolation::protect_this_process().context("protect the process's memory")?;
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("choose the TLS library twice"))?;

    let tls = settings.listen.tls.clone().map(Tls::read).transpose()?.map(Arc::new);
    let broker = Arc::new(super::open(&settings).await?);
    let listener = TcpListener::bind(settings.listen.address)
        .await
        .with_context(|| format!("listen on {}", settings.listen.address))?;
    let address = listener.local_addr().context("read the listening address")?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let local_url = format!("{scheme}://{address}");
    let public_url = settings.listen.public_url.clone().unwrap_or_else(|| local_url.clone());

    let shutdown = CancellationToken::new();
    let runner_shutdown = CancellationToken::new();
    let background = loops::start(&broker, shutdown.clone());
    let state = AppState::new(Arc::clone(&broker));
    // The certificate names the server's public host; the runner inside needs none to come in by
    // the loopback address.
    let inside = if settings.runner.is_enabled && tls.is_some() {
        Some(TcpListener::bind("127.0.0.1:0").await.context("listen for the runner inside")?)
    } else {
        None
    };

    super::print(&format!("listening on {local_url}"))?;
    if let Some(token) = broker.first_start_token(&broker.system_actor()).await? {
        super::print(&format!(
            "nobody has an account yet; create the owner within a day with this one-time link, \
             which `keyferry setup` asks for:\n  {public_url}/setup#{}",
            token.expose()
        ))?;
    }
    let runner = if settings.runner.is_enabled {
        let url = match &inside {
            Some(listener) => {
                format!("http://{}", listener.local_addr().context("read the inner address")?)
            }
            None => local_url.clone(),
        };
        Some(loops::start_runner(&broker, &settings, &url, runner_shutdown.clone()).await?)
    } else {
        None
    };

    let changes = state.changes.clone();
    let api = Arc::new(Api::new(state));
    let serving = TaskTracker::new();
    serving.spawn(serve(listener, tls, Arc::clone(&api), shutdown.clone()));
    if let Some(listener) = inside {
        serving.spawn(serve(listener, None, api, shutdown.clone()));
    }
    serving.close();

    wait_for_signal().await?;
    tracing::info!("shutting down");
    // The runner first: it tells the server how its jobs ended.
    runner_shutdown.cancel();
    if let Some(runner) = runner {
        runner.stopped(&broker).await?;
    }
    shutdown.cancel();
    serving.wait().await;
    changes.close();
    if tokio::time::timeout(CHANGES_TIMEOUT, changes.wait()).await.is_err() {
        tracing::warn!("some changes did not finish in time");
    }
    background.wait().await;
    broker.close().await;
    Ok(())
}

async fn wait_for_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
