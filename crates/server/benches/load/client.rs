//! The client: HTTP/1.1 over kept connections, one request at a time on each.

use std::io::Read as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What is asked, again and again.
#[derive(Clone)]
pub(crate) struct Target {
    authority: String,
    path: String,
    token: String,
    body: Bytes,
}

impl Target {
    /// Reads what must not be seen in a process list: the token on the first line, then the body.
    pub(crate) fn from_stdin(url: &str) -> Result<Self> {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        let (token, body) = text.split_once('\n').context("read token and body")?;
        let rest = url.strip_prefix("http://").context("read the URL")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self {
            authority: authority.to_owned(),
            path: format!("/{path}"),
            token: token.to_owned(),
            body: Bytes::from(body.trim().to_owned()),
        })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn ask(&self, sender: &mut SendRequest<Full<Bytes>>) -> Result<()> {
        let request = Request::post(&self.path)
            .header("host", &self.authority)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.token))
            .body(Full::new(self.body.clone()))?;
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status != StatusCode::OK && status != StatusCode::CREATED {
            bail!("the server answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(())
    }
}

/// Asks as fast as it goes on so many connections; returns how often, and the sorted waits.
pub(crate) async fn peak(
    target: &Target,
    connections: usize,
    length: Duration,
) -> Result<(f64, Vec<Duration>)> {
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        let target = target.clone();
        workers.spawn(async move {
            let mut sender = target.connect().await?;
            target.ask(&mut sender).await?;
            let start = Instant::now();
            let mut waits = Vec::new();
            while start.elapsed() < length {
                let asked = Instant::now();
                target.ask(&mut sender).await?;
                waits.push(asked.elapsed());
            }
            anyhow::Ok(waits)
        });
    }
    let mut waits = Vec::new();
    while let Some(worker) = workers.join_next().await {
        waits.extend(worker??);
    }
    waits.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "far fewer requests than a float can count")]
    let total = waits.len() as f64;
    Ok((total, waits))
}

/// Asks at a fixed rate, whatever the answers take. A request that has to wait for the one before
/// it counts from when it was due, so that a stall is seen by all behind it; the others count from
/// when they are sent, which the runtime's timer does up to two milliseconds late. Returns the
/// sorted waits.
pub(crate) async fn steady(target: &Target, rate: u32, length: Duration) -> Result<Vec<Duration>> {
    const CONNECTIONS: u32 = 16;
    let gap = Duration::from_secs(1) / rate;
    let count = u32::try_from(length.as_secs())? * rate / CONNECTIONS;
    let start = Instant::now() + Duration::from_millis(200);
    let mut workers = JoinSet::new();
    for worker in 0..CONNECTIONS {
        let target = target.clone();
        workers.spawn(async move {
            let mut sender = target.connect().await?;
            target.ask(&mut sender).await?;
            let mut waits = Vec::new();
            for turn in 0..count {
                let mut due = start + gap * (turn * CONNECTIONS + worker);
                if Instant::now() < due {
                    tokio::time::sleep_until(due.into()).await;
                    due = Instant::now();
                }
                target.ask(&mut sender).await?;
                waits.push(due.elapsed());
            }
            anyhow::Ok(waits)
        });
    }
    let mut waits = Vec::new();
    while let Some(worker) = workers.join_next().await {
        waits.extend(worker??);
    }
    waits.sort_unstable();
    Ok(waits)
}
