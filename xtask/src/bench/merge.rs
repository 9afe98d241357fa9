//! Merging in a repository of 50 000 files: the step `MergeBranch`, against a clone, a merge and a
//! push with plain git, through the same counting proxy.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use keyferry_testkit::peers::git_http::{GitHttp, PROGRAMS, USER};
use keyferry_testkit::process::ServerOptions;
use keyferry_testkit::{Git, Scratch, children, require, wait_until};
use serde_json::{Value, json};

use super::proxy::Proxy;
use super::report::{Figure, Goal};
use super::stand::Stand;
use crate::steps;

pub(super) const NAMES: &[&str] = &["merge_vs_clone_time", "merge_vs_clone_bytes"];

const FILES: usize = 50_000;
const PASSWORD: &str = "a password for measuring";

/// A Git server with the big repository behind a counting proxy.
struct Big {
    _server: GitHttp,
    proxy: Proxy,
    scratch: Scratch,
}

impl Big {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/git", self.proxy.port)
    }

    fn git(&self) -> Result<Git> {
        Git::new(self.scratch.path())
    }

    /// Makes the repository: `main`, and branches that each change one file of their own.
    fn create(branches: usize) -> Result<Self> {
        let server = GitHttp::start(PASSWORD)?;
        let scratch = Scratch::new()?;
        let git = Git::new(scratch.path())?;
        let bare = server.repositories().join("team/big.git");
        let path = bare.to_str().context("write the repository's path")?;
        git.run(["init", "--quiet", "--bare", "--initial-branch=main", path])?;
        for (name, value) in [
            ("uploadpack.allowFilter", "true"),
            ("uploadpack.allowAnySHA1InWant", "true"),
            ("gc.auto", "0"),
        ] {
            git.run(["-C", path, "config", name, value])?;
        }
        let mut import = git.command(["-C", path, "fast-import", "--quiet"]);
        let output = children::output_with_input(&mut import, history(branches)?.as_bytes())?;
        if !output.status.success() {
            bail!("{}", children::describe(&output));
        }
        let proxy = Proxy::start(server.port())?;
        Ok(Self { _server: server, proxy, scratch })
    }
}

/// Writes the history as `git fast-import` reads it. Files of about a kilobyte that do not
/// compress to nothing, in folders of a hundred.
fn history(branches: usize) -> Result<String> {
    let mut text = String::new();
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut words = |count: usize| {
        let mut out = String::new();
        for _ in 0..count {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let _ok = writeln!(out, "{seed:016x}");
        }
        out
    };
    let who = "committer Bench <bench@example.com> 1700000000 +0000";
    writeln!(text, "commit refs/heads/main\n{who}\ndata 5\nfirst")?;
    for index in 0..FILES {
        let content = words(60);
        let path = format!("src/{:03}/{:05}.txt", index / 100, index);
        writeln!(text, "M 100644 inline {path}\ndata {}\n{content}", content.len())?;
    }
    for branch in 0..branches {
        writeln!(
            text,
            "commit refs/heads/feature/{branch}\n{who}\ndata 6\nchange\nfrom refs/heads/main"
        )?;
        let content = words(60);
        let path = format!("src/000/new-{branch}.txt");
        writeln!(text, "M 100644 inline {path}\ndata {}\n{content}", content.len())?;
    }
    Ok(text)
}

pub(super) fn measure(runs: usize) -> Result<Vec<Figure>> {
    if !require(PROGRAMS) {
        return Ok(Vec::new());
    }
    steps::say(&format!("merges in a repository of {FILES} files"));
    let big = Big::create(runs * 2)?;
    let allow = vec!["--allow-address".to_owned(), "127.0.0.1".to_owned()];
    let stand = Stand::start(ServerOptions { arguments: allow, ..ServerOptions::default() })?;
    stand.create(
        "connections",
        &json!({
            "name": "big", "type": "git", "connection_id": "big", "scope": "private",
            "settings": { "url": big.url(), "verify_repository": "team/big" },
            "credential": {
                "kind": "username_password",
                "fields": { "username": USER, "password": PASSWORD },
            },
        }),
    )?;
    let (mut times, mut bytes) = (Vec::new(), Vec::new());
    let mut last = (Duration::ZERO, 0, Duration::ZERO, 0);
    for run in 0..runs {
        let (own_time, own_bytes) = merge_by_step(&stand, &big, run)?;
        let (plain_time, plain_bytes) = merge_by_clone(&big, runs + run)?;
        times.push(plain_time.as_secs_f64() / own_time.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a ratio of two byte counts")]
        bytes.push(plain_bytes as f64 / own_bytes as f64);
        last = (own_time, own_bytes, plain_time, plain_bytes);
    }
    let beside = format!(
        "clone, merge and push with plain git: {:.1} s and {:.1} MB against {:.2} s and {:.2} MB \
         in the last run",
        last.2.as_secs_f64(),
        megabytes(last.3),
        last.0.as_secs_f64(),
        megabytes(last.1)
    );
    let figure = |name, runs| Figure {
        name,
        unit: "×",
        goal: Goal::AtLeast(20.0),
        beside: beside.clone(),
        runs,
    };
    Ok(vec![figure("merge_vs_clone_time", times), figure("merge_vs_clone_bytes", bytes)])
}

fn megabytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let bytes = bytes as f64;
    bytes / 1e6
}

/// Merges by the step of a pipeline; the time is the step's own, as the run shows it.
fn merge_by_step(stand: &Stand, big: &Big, branch: usize) -> Result<(Duration, u64)> {
    let yaml = format!(
        "sources:\n  app:\n    type: git\n    endpoint: {}/team/big.git\n    branch: main\n    \
         certificate:\n      type: serviceConnection\n      serviceConnection: big\n\
         stages:\n  merge:\n    jobs:\n      merge:\n        sourceOption: []\n        steps:\n          \
         merge:\n            step: MergeBranch\n            with:\n              source: app\n              \
         from: feature/{branch}\n              into: main\n",
        big.url()
    );
    let pipeline =
        stand.create("pipelines", &json!({ "name": format!("merge {branch}"), "yaml": yaml }))?;
    let id = pipeline["id"].as_str().context("read the pipeline's id")?;
    big.proxy.take_bytes();
    let run = stand.create(&format!("pipelines/{id}/runs"), &json!({}))?;
    let id = run["id"].as_str().context("read the run's id")?;
    let run = wait_until("the merge", Duration::from_mins(2), || {
        let run = stand.get(&format!("runs/{id}"))?;
        Ok(run["finished_at"].is_string().then_some(run))
    })?;
    if run["state"] != "succeeded" {
        bail!("the merge run ended as {}: {}", run["state"], run["reason"]);
    }
    let step = &run["jobs"][0]["steps"][0];
    let moment = |value: &Value| -> Result<i64> {
        let text = value.as_str().context("read a step's time")?;
        milliseconds_of_day(text)
    };
    let elapsed = moment(&step["finished_at"])? - moment(&step["started_at"])?;
    // A run over midnight is not measured; it would only look endless.
    let elapsed = u64::try_from(elapsed).context("measure over midnight")?.max(1);
    Ok((Duration::from_millis(elapsed), big.proxy.take_bytes()))
}

/// Reads the time of day of an RFC 3339 timestamp in UTC, in milliseconds.
fn milliseconds_of_day(text: &str) -> Result<i64> {
    let time = text.split_once('T').and_then(|(_, time)| time.strip_suffix('Z'));
    let parts: Vec<&str> = time.context("read a timestamp")?.split([':', '.']).collect();
    let [hours, minutes, seconds, millis] = parts.as_slice() else {
        bail!("read the timestamp {text}");
    };
    let (hours, minutes): (i64, i64) = (hours.parse()?, minutes.parse()?);
    let (seconds, millis): (i64, i64) = (seconds.parse()?, millis.parse()?);
    Ok(((hours * 60 + minutes) * 60 + seconds) * 1_000 + millis)
}

/// Merges as everyone does by hand: clone, merge, push.
fn merge_by_clone(big: &Big, branch: usize) -> Result<(Duration, u64)> {
    let git = big.git()?;
    let url = format!("{}/team/big.git", big.url());
    git.remember(&url, USER, PASSWORD)?;
    let folder = big.scratch.join(format!("clone-{branch}"));
    let folder = folder.to_str().context("write the clone's path")?;
    big.proxy.take_bytes();
    let start = Instant::now();
    git.run(["clone", "--quiet", &url, folder])?;
    git.run([
        "-C",
        folder,
        "merge",
        "--quiet",
        "--no-ff",
        "-m",
        "merge",
        &format!("origin/feature/{branch}"),
    ])?;
    git.run(["-C", folder, "push", "--quiet", "origin", "HEAD:main"])?;
    let elapsed = start.elapsed();
    std::fs::remove_dir_all(folder)?;
    Ok((elapsed, big.proxy.take_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_give_their_time_of_day() {
        assert_eq!(milliseconds_of_day("2026-01-01T01:02:03.004Z").unwrap(), 3_723_004);
        assert!(milliseconds_of_day("2026-01-01T01:02:03Z").is_err());
        assert!(milliseconds_of_day("yesterday").is_err());
    }
}
