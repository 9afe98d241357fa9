//! Runs: what is sent to start one, and how following one ends.

use serde_json::{Value, json};

use crate::world::{JOB, PIPELINE, RUN, StandIn, World, in_organization, problem};

fn run(state: &str, job_state: &str) -> Value {
    let is_over = !matches!(state, "queued" | "running");
    json!({
        "id": RUN, "pipeline_id": PIPELINE, "pipeline_name": "nightly", "revision": 3, "number": 12,
        "state": state, "reason": null, "started_by": "user_x", "created_at":
        "2026-01-31T12:00:00.000Z", "started_at": "2026-01-31T12:00:01.000Z",
        "finished_at": is_over.then_some("2026-01-31T12:00:09.000Z"),
        "jobs": [{
            "id": JOB, "key": "build.compile", "name": "compile", "stage": "build", "attempt": 1,
            "state": job_state, "reason": (job_state == "failed").then_some("step hello failed"),
            "started_at": "2026-01-31T12:00:01.000Z", "finished_at": null, "steps": [],
        }],
    })
}

fn log(text: &str, next: i64, is_complete: bool) -> Value {
    json!({ "text": text, "next": next, "is_complete": is_complete })
}

fn server(end: &str, job: &str) -> StandIn {
    let get = format!("GET {}", in_organization(&format!("runs/{RUN}")));
    let read = format!("GET {}", in_organization(&format!("runs/{RUN}/jobs/{JOB}/log")));
    let start = format!("POST {}", in_organization(&format!("pipelines/{PIPELINE}/runs")));
    StandIn::start(&[
        (&start, 201, run("queued", "queued")),
        (&get, 200, run("running", "running")),
        (&get, 200, run(end, job)),
        (&read, 200, log("hel", 1, false)),
        (&read, 503, problem(503, "unavailable", "the server restarts")),
        (&read, 200, log("lo\nwor", 2, false)),
        (&read, 200, log("ld", 3, true)),
    ])
}

#[test]
fn watching_shows_the_whole_log_and_ends_well_with_the_run() {
    let server = server("succeeded", "succeeded");
    let outcome = World::signed_in(&server).run(&["run", "watch", RUN]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "hello\nworld\n");
    assert_eq!(
        outcome.stderr,
        "build.compile is running\nbuild.compile succeeded\nrun 12 succeeded\n"
    );
}

#[test]
fn a_failed_run_ends_with_9_and_says_why() {
    let server = server("failed", "failed");
    let arguments =
        ["run", "start", PIPELINE, "--watch", "--variable", "A=b=c", "--branch", "app=x"];
    let outcome = World::signed_in(&server).run(&arguments);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (9, "hello\nworld\n"));
    assert!(
        outcome.stderr.ends_with("error: run 12 failed\n  build.compile: step hello failed\n"),
        "{}",
        outcome.stderr
    );
    let start = format!("POST {}", in_organization(&format!("pipelines/{PIPELINE}/runs")));
    assert_eq!(
        server.body(&start),
        json!({ "variables": { "A": "b=c" }, "branches": { "app": "x" } })
    );
}

#[test]
fn as_json_standard_output_has_the_run_and_nothing_else() {
    let server = server("canceled", "canceled");
    let outcome = World::signed_in(&server).run(&["run", "watch", RUN, "--output", "json"]);
    assert_eq!(outcome.code, 9);
    let shown: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(shown["state"], "canceled");
    assert!(outcome.stderr.contains("hello\nworld\n"), "{}", outcome.stderr);
}

#[test]
fn logs_are_printed_as_far_as_they_have_come() {
    let get = format!("GET {}", in_organization(&format!("runs/{RUN}")));
    let read = format!("GET {}", in_organization(&format!("runs/{RUN}/jobs/{JOB}/log")));
    let server = StandIn::start(&[
        (&get, 200, run("running", "running")),
        (&read, 200, log("one\n", 1, false)),
        (&read, 200, log("two\n", 2, false)),
        (&read, 200, log("", 2, false)),
    ]);
    let world = World::signed_in(&server);
    let outcome = world.run(&["run", "logs", RUN]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "one\ntwo\n"), "{}", outcome.stderr);
    let outcome = world.run(&["run", "logs", RUN, "--job", "build.link"]);
    assert_eq!(outcome.code, 5);
    assert!(outcome.stderr.contains("jobs: `build.compile`"));
}

#[test]
fn retry_takes_the_failed_jobs_and_refuses_when_there_are_none() {
    let get = format!("GET {}", in_organization(&format!("runs/{RUN}")));
    let retry = format!("POST {}", in_organization(&format!("runs/{RUN}/jobs/{JOB}/retry")));
    let server = StandIn::start(&[
        (&get, 200, run("failed", "failed")),
        (&get, 200, run("succeeded", "succeeded")),
        (&retry, 200, run("running", "queued")),
    ]);
    let world = World::signed_in(&server);
    assert_eq!(world.run(&["run", "retry", RUN]).code, 0);
    assert_eq!(world.run(&["run", "retry", RUN]).code, 2);
    assert_eq!(server.seen().iter().filter(|seen| seen.method == "POST").count(), 1);
}

#[test]
fn nonsense_at_start_is_refused_before_anything_is_sent() {
    let server = StandIn::start(&[]);
    let world = World::signed_in(&server);
    for options in
        [&["--variable", "A"][..], &["--variable", "=x"], &["--branch", "a=1", "--branch", "a=2"]]
    {
        let outcome = world.run(&[&["run", "start", PIPELINE][..], options].concat());
        assert_eq!(outcome.code, 2, "{options:?}");
    }
    assert!(server.seen().is_empty());
}
