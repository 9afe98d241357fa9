//! Issuing a cached lease, every answer after its audit event is durable.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};
use keyferry_testkit::process::ServerOptions;
use serde_json::json;

use super::report::{Figure, Goal};
use super::stand::{Stand, load, number};
use crate::steps;

pub(super) const NAMES: &[&str] = &["cached_issue_vs_bare_route", "cached_issue_p99_ms"];

const CONNECTIONS: &str = "64";
const PEAK_SECONDS: &str = "5";
const RATE: &str = "500";
const STEADY_SECONDS: &str = "20";

/// The bare route's process; ended by closing its input.
struct Bare {
    process: Child,
    url: String,
}

impl Bare {
    fn start(program: &Path) -> Result<Self> {
        let mut process = steps::command(program)
            .arg("bare")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the bare route")?;
        let stdout = process.stdout.take().context("read the bare route's address")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line.trim().strip_prefix("listening on ").context("read its address")?.to_owned();
        Ok(Self { process, url })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It ends by itself now; a failure to wait leaves nothing to do.
        let _status = self.process.wait();
    }
}

pub(super) fn measure(program: &Path, runs: usize) -> Result<Vec<Figure>> {
    steps::say("cached leases: one workload asks again and again");
    let options = ServerOptions { without_runner: true, ..ServerOptions::default() };
    let stand = Stand::start(options)?;
    stand.create(
        "connections",
        &json!({
            "name": "bench", "type": "generic", "connection_id": "bench", "scope": "private",
            "credential": { "kind": "values", "fields": { "token": "0123456789abcdef" } },
        }),
    )?;
    let workload =
        stand.create("workloads", &json!({ "connections": ["bench"], "label": "bench" }))?;
    let token = workload["token"].as_str().context("read the workload's token")?;
    let body = json!({ "connection_id": "bench", "operation": { "kind": "material" } });
    let input = format!("{token}\n{body}");
    let url = stand.url("leases");

    let (mut ratios, mut waits) = (Vec::new(), Vec::new());
    let mut last = (0.0, 0.0);
    for _ in 0..runs {
        let bare = Bare::start(program)?;
        let bare_peak = load(program, &["peak", &bare.url, CONNECTIONS, PEAK_SECONDS], &input)?;
        drop(bare);
        let peak = load(program, &["peak", &url, CONNECTIONS, PEAK_SECONDS], &input)?;
        last = (number(&peak, "requests_per_second")?, number(&bare_peak, "requests_per_second")?);
        ratios.push(last.0 / last.1);
    }
    for _ in 0..runs {
        let steady = load(program, &["steady", &url, RATE, STEADY_SECONDS], &input)?;
        waits.push(number(&steady, "p99_ms")?);
    }
    Ok(vec![
        Figure {
            name: "cached_issue_vs_bare_route",
            unit: "×",
            goal: Goal::AtLeast(0.40),
            beside: format!(
                "a bare axum JSON route under the same client with {CONNECTIONS} connections: \
                 {:.0} against {:.0} requests/s in the last run",
                last.0, last.1
            ),
            runs: ratios,
        },
        Figure {
            name: "cached_issue_p99_ms",
            unit: "ms",
            goal: Goal::Below(2.0),
            beside: format!("{RATE} requests/s on 16 connections, from when each was due"),
            runs: waits,
        },
    ])
}
