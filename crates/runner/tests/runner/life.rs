//! A job's life: output, failure, cancel, time limits, a server that goes away, and the clean-up.

use std::time::Duration;

use keyferry_domain::run::JobState;
use keyferry_runner::RunnerError;

use crate::server::{Running, Server, assert_succeeded, run_one, script};

/// Returns the processes of this machine with this text in their arguments.
fn processes_with(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(bytes) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
        if line.contains(text) {
            found.push(line);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_runs_with_its_variables_and_its_output_arrives() {
    let server = Server::start().await;
    let yaml = script("echo build $BUILD_NUMBER by $BUILD_EXECUTOR; echo oops >&2; pwd");
    let (finished, log) = run_one(&server, &yaml, &[]).await;
    assert_succeeded(&finished, &log);
    assert!(log.contains("build 7 by alice\noops\n"), "{log}");
    server.seen("01", |seen| {
        let states: Vec<&str> = seen.steps.iter().map(|(_, state, _)| state.as_str()).collect();
        assert_eq!(states, ["running", "succeeded"]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_line_before_a_silence_is_shown_though_a_secret_may_begin_with_its_end() {
    let server = Server::start().await;
    server.give("images", "bob", "now or never");
    let text = "keyferry ask images >/dev/null\necho waiting for bob\nsleep 2\necho waiting now\nsleep 98767";
    let connections = [("images", "private_docker_registry", "r.example.com")];
    let job = server.queue(&script(text), &connections);
    let runner = Running::start(&server, |_| ());
    server.wait_for_log(&job, "waiting for bob\nwaiting now\n").await;
    runner.shut_down();
    runner.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_failing_line_ends_the_script_and_later_steps_are_skipped() {
    let server = Server::start().await;
    let yaml = script("echo before\nfalse\necho after")
        + "          two:\n            step: Command\n            with: {run: echo two}\n";
    let (finished, log) = run_one(&server, &yaml, &[]).await;
    assert_eq!(finished.state, JobState::Failed);
    assert_eq!(finished.reason.as_deref(), Some("step `one`: exit code 1"));
    assert!(log.contains("before") && !log.contains("after") && !log.contains("==> two"), "{log}");
    server.seen("01", |seen| {
        let last = seen.steps.last().unwrap();
        assert_eq!((last.0.as_str(), last.1.as_str()), ("two", "skipped"));
    });
}

async fn nothing_outlives_its_job(use_namespaces: bool, mark: &str) {
    let server = Server::start().await;
    let job = server.queue(
        &script(&format!(
            "sleep {mark} &\nsetsid sleep {mark} >/dev/null 2>&1 &\n(setsid sh -c '(sleep {mark} &)' &)\nsleep 0.3; echo started"
        )),
        &[],
    );
    let _runner = Running::start(&server, |settings| settings.use_namespaces = use_namespaces);
    let finished = server.wait_for_end(&job).await;
    assert_succeeded(&finished, &server.log(&job));
    assert!(server.log(&job).contains("started"));
    assert_eq!(processes_with(&format!("sleep {mark}")), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_its_job_in_namespaces() {
    nothing_outlives_its_job(true, "98761").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_its_job_without_namespaces() {
    nothing_outlives_its_job(false, "98762").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_job_gets_time_to_end_and_then_none() {
    for use_namespaces in [true, false] {
        let server = Server::start().await;
        let job = server.queue(
            &script("trap 'echo asked to stop' TERM\necho ready\nwhile true; do sleep 0.1; done"),
            &[],
        );
        let _runner = Running::start(&server, |settings| settings.use_namespaces = use_namespaces);
        server.wait_for_log(&job, "ready").await;
        server.cancel_jobs();
        let finished = server.wait_for_end(&job).await;
        assert_eq!(finished.state, JobState::Canceled);
        assert!(server.log(&job).contains("asked to stop"), "{}", server.log(&job));
        server.seen(&job, |seen| assert_eq!(seen.steps.last().unwrap().1, "canceled"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_takes_too_long_fails_and_says_so() {
    let server = Server::start().await;
    let job = server.queue(&script("sleep 98763"), &[]);
    let _runner = Running::start(&server, |settings| {
        settings.job_time_limit = Some(Duration::from_secs(1));
    });
    let finished = server.wait_for_end(&job).await;
    assert_eq!(finished.state, JobState::Failed);
    assert_eq!(finished.reason.as_deref(), Some("it took longer than 1 seconds"));
    assert!(processes_with("sleep 98763").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_for_three_seconds_loses_no_line() {
    let server = Server::start().await;
    let job = server.queue(
        &script("echo go\nfor i in $(seq 1 4000); do echo line-$i-end; [ $((i % 100)) != 0 ] || sleep 0.05; done"),
        &[],
    );
    let _runner = Running::start(&server, |_| ());
    server.wait_for_log(&job, "go").await;
    server.set_away(true);
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.set_away(false);
    let finished = server.wait_for_end(&job).await;
    let log = server.log(&job);
    assert_succeeded(&finished, &log);
    let lines: Vec<&str> = log.lines().filter(|line| line.starts_with("line-")).collect();
    let expected: Vec<String> = (1..=4000).map(|number| format!("line-{number}-end")).collect();
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn output_waits_while_the_server_is_away_and_none_of_it_is_lost() {
    let server = Server::start().await;
    // Far more than may wait in memory.
    let job = server.queue(&script("echo go; sleep 1; seq 1 900000; echo done"), &[]);
    let _runner = Running::start(&server, |_| ());
    server.wait_for_log(&job, "go").await;
    server.set_away(true);
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.set_away(false);
    let finished = server.wait_for_end(&job).await;
    assert_succeeded(&finished, "");
    let log = server.log(&job);
    let numbers = log.lines().filter_map(|line| line.parse::<u64>().ok());
    assert!(numbers.eq(1..=900_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_the_server_gave_up_is_stopped() {
    let server = Server::start().await;
    let job = server.queue(&script("echo ready; sleep 98764"), &[]);
    let runner = Running::start(&server, |_| ());
    server.wait_for_log(&job, "ready").await;
    server.give_up();
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while !(processes_with("sleep 98764").is_empty() && runner.leftovers().is_empty()) {
        assert!(std::time::Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.seen(&job, |seen| assert!(seen.finished.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_is_stopped_ends_its_jobs_first() {
    let server = Server::start().await;
    let job = server.queue(&script("echo ready; sleep 98765"), &[]);
    let runner = Running::start(&server, |_| ());
    server.wait_for_log(&job, "ready").await;
    runner.shut_down();
    let finished = server.wait_for_end(&job).await;
    assert_eq!(finished.reason.as_deref(), Some("its runner was stopped"));
    runner.ended().await.unwrap();
    assert!(processes_with("sleep 98765").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn required_isolation_that_cannot_be_had_is_refused() {
    let server = Server::start().await;
    let runner = Running::start(&server, |settings| {
        settings.use_namespaces = false;
        settings.require_isolation = true;
    });
    assert!(matches!(runner.ended().await, Err(RunnerError::NotIsolated { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_is_not_there_is_refused_at_the_start() {
    let server = Server::start().await;
    let runner = Running::start(&server, |settings| settings.helper_binary = "/nowhere".into());
    assert!(matches!(runner.ended().await, Err(RunnerError::Helper { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_job_runs_that_the_server_has_given_to_another_runner() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mark = |name: &str| script(&format!("touch {}/{name}", folder.path().display()));
    // As when the answer to the claim came late: its token is not known any more.
    server.give_up();
    let late = server.queue(&mark("late"), &[]);
    let _runner = Running::start(&server, |settings| {
        settings.use_namespaces = false;
        settings.parallel_jobs = 1;
    });
    server.turn_one_away().await;
    let next = server.queue(&mark("next"), &[]);
    let finished = server.wait_for_end(&next).await;
    assert_succeeded(&finished, &server.log(&next));
    assert!(folder.path().join("next").exists() && !folder.path().join("late").exists());
    server.seen(&late, |seen| assert!(seen.steps.is_empty() && seen.finished.is_none()));
}
