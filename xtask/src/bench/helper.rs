//! The credential helper: from its start to its answer, with the material at hand.

use std::path::Path;

use anyhow::{Context as _, Result};
use keyferry_testkit::process::ServerOptions;
use serde_json::{Value, json};

use super::report::{Figure, Goal};
use super::stand::{Stand, number};
use crate::steps;

pub(super) const NAMES: &[&str] = &["helper_vs_true", "helper_ms"];

const TIMES: &str = "200";
const QUESTION: &str = "protocol=https\nhost=git.example.com\npath=team/app.git\n\n";

pub(super) fn measure(program: &Path, runs: usize) -> Result<Vec<Figure>> {
    steps::say("the git credential helper, started again and again under `keyferry exec`");
    let options = ServerOptions { without_runner: true, ..ServerOptions::default() };
    let stand = Stand::start(options)?;
    stand.create(
        "connections",
        &json!({
            "name": "bench", "type": "git", "connection_id": "bench", "scope": "private",
            "settings": { "url": "https://git.example.com" },
            "credential": {
                "kind": "username_password",
                "fields": { "username": "ci", "password": "0123456789abcdef" },
            },
            // Nothing is sent to this host: the material is the stored password.
            "skip_verify": true,
        }),
    )?;
    let cli = stand.cli()?;
    let load = program.to_str().context("write the load client's path")?;
    let time = |program: &str, arguments: &[&str]| -> Result<f64> {
        let mut all = vec!["exec", "-c", "bench", "--", load, "start", TIMES, program];
        all.extend(arguments);
        let output = cli.output_with_input(&all, QUESTION)?;
        if !output.status.success() {
            anyhow::bail!("{}", keyferry_testkit::children::describe(&output));
        }
        let figures: Value = serde_json::from_slice(&output.stdout).context("read the figures")?;
        number(&figures, "median_ms")
    };
    let (mut helper, mut ratios) = (Vec::new(), Vec::new());
    let mut last_true = 0.0;
    for _ in 0..runs {
        last_true = time("/bin/true", &[])?;
        let own = time("git-credential-keyferry", &["get"])?;
        helper.push(own);
        ratios.push(own / last_true);
    }
    Ok(vec![
        Figure {
            name: "helper_vs_true",
            unit: "×",
            goal: Goal::Below(4.0),
            beside: format!("starting `/bin/true` in the same place: {last_true:.2} ms"),
            runs: ratios,
        },
        Figure {
            name: "helper_ms",
            unit: "ms",
            goal: Goal::Below(10.0),
            beside: format!("median of {TIMES} starts of `git-credential-keyferry get`"),
            runs: helper,
        },
    ])
}
