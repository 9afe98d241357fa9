//! Accepts connections and speaks HTTP/1.1 and HTTP/2 on them, with TLS when certificates are set.
//!
//! A peer that sends its header or its TLS handshake slowly is dropped. On shutdown no connection
//! is accepted any more, and requests under way get a while to finish.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::RwLock;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::Api;
use crate::settings::TlsFiles;

const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// Certificate and key as last read, with the time of the file then.
pub(crate) struct Tls {
    files: TlsFiles,
    acceptor: RwLock<(TlsAcceptor, Option<SystemTime>)>,
}

impl Tls {
    /// Reads certificate and key.
    pub(crate) fn read(files: TlsFiles) -> Result<Self> {
        let loaded = load(&files)?;
        Ok(Self { files, acceptor: RwLock::new(loaded) })
    }

    /// Reads them again when the certificate's file has changed. A broken pair keeps the one before.
    async fn refresh(&self) {
        let changed = modified(&self.files);
        if self.acceptor.read().await.1 == changed {
            return;
        }
        match load(&self.files) {
            Ok(loaded) => {
                *self.acceptor.write().await = loaded;
                tracing::info!("the TLS certificate was read again");
            }
            Err(error) => tracing::error!(?error, "the new TLS certificate cannot be used"),
        }
    }
}

fn modified(files: &TlsFiles) -> Option<SystemTime> {
    std::fs::metadata(&files.certificate).and_then(|metadata| metadata.modified()).ok()
}

fn load(files: &TlsFiles) -> Result<(TlsAcceptor, Option<SystemTime>)> {
    let changed = modified(files);
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(&files.certificate)
            .and_then(Iterator::collect)
            .with_context(|| format!("read certificates from {}", files.certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("read a private key from {}", files.key.display()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("use the certificate with the private key")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), changed))
}

/// Serves until `shutdown`, then drains.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    api: Arc<Api>,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let mut certificate_check = tokio::time::interval(CERTIFICATE_CHECK_INTERVAL);
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            _ = certificate_check.tick(), if tls.is_some() => {
                if let Some(tls) = &tls {
                    tls.refresh().await;
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let serving = serve_connection(
                    stream,
                    address,
                    tls.clone(),
                    Arc::clone(&api),
                    shutdown.clone(),
                );
                connections.spawn(serving);
            }
            Err(error) => {
                // Out of descriptors, most likely; give connections time to close.
                tracing::warn!(?error, "accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

async fn serve_connection(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    api: Arc<Api>,
    shutdown: CancellationToken,
) {
    // Answers are small; waiting to fill a packet only costs time.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(?error, "set TCP_NODELAY");
    }
    let Some(tls) = tls else {
        return speak_http(stream, address, api, shutdown).await;
    };
    let acceptor = tls.acceptor.read().await.0.clone();
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => speak_http(stream, address, api, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%address, ?error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
    }
}

async fn speak_http<S>(stream: S, address: SocketAddr, api: Arc<Api>, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(address));
        let api = Arc::clone(&api);
        async move { Ok::<_, Infallible>(api.answer(request.map(Body::new)).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(128);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut is_draining = false;
    loop {
        tokio::select! {
            outcome = connection.as_mut() => {
                if let Err(error) = outcome {
                    tracing::debug!(%address, ?error, "connection ended");
                }
                return;
            }
            () = shutdown.cancelled(), if !is_draining => {
                is_draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
