//! Runs over HTTP, with a runner that is played by the test.

use axum::http::Method;
use keyferry_domain::Role;
use serde_json::{Value, json};

use crate::fixture::{Answer, Person, TestServer};
use crate::pipelines::{PLAIN, pipeline};

/// Starts a run; returns its view.
pub(crate) async fn start(server: &TestServer, who: &Person, pipeline: &Value) -> Value {
    let path = format!("/pipelines/{}/runs", pipeline["id"].as_str().unwrap());
    server.post(who, &path, json!({})).await.created()
}

/// Registers a runner; returns its token.
pub(crate) async fn runner(server: &TestServer) -> String {
    let owner = server.actor(&server.owner.user);
    let made = server.broker.create_runner(&owner, &server.organization, "machine").await.unwrap();
    made.token.expose().clone()
}

/// Calls what runners and jobs call.
pub(crate) async fn report(server: &TestServer, token: &str, what: &str, body: Value) -> Answer {
    let method = if what == "job/step" { Method::PUT } else { Method::POST };
    server.call(Some(token), method, &format!("/api/v1/runner/{what}"), Some(&body)).await
}

/// Claims a job without waiting; `null` when there is none.
pub(crate) async fn claim(server: &TestServer, runner: &str) -> Value {
    report(server, runner, "claim", json!({"isolation": "process"})).await.ok()
}

fn at(run: &Value) -> String {
    format!("/runs/{}", run["id"].as_str().unwrap())
}

fn job(run: &Value) -> String {
    format!("{}/jobs/{}", at(run), run["jobs"][0]["id"].as_str().unwrap())
}

const NONE: &str = "/runs/run_00000000000000000000000000";

#[tokio::test]
async fn a_run_is_started_followed_and_over() {
    let server = TestServer::start().await;
    let owner = &server.owner;
    let machine = runner(&server).await;
    let made = pipeline(&server, owner, "Build", PLAIN).await;
    let path = format!("/pipelines/{}/runs", made["id"].as_str().unwrap());
    let run = server.post(owner, &path, json!({"comment": "first"})).await.created();
    assert_eq!((&run["state"], &run["number"]), (&json!("queued"), &json!(1)));
    assert_eq!((&run["pipeline_name"], &run["revision"]), (&json!("Build"), &json!(1)));
    assert_eq!((&run["comment"], &run["started_by"]), (&json!("first"), &json!(owner.id())));
    assert_eq!(run["jobs"][0]["key"], "build.compile");
    assert_eq!(run["jobs"][0]["steps"][0]["state"], "waiting");

    let claimed = claim(&server, &machine).await;
    let token = claimed["job_token"].as_str().unwrap();
    report(&server, token, "job/log", json!({"sequence": 1, "text": "hello\n"})).await.done();
    let log = format!("{}/log", job(&run));
    let part = server.get(owner, &log).await.ok();
    assert_eq!(part, json!({"text": "hello\n", "next": 1, "is_complete": false}));
    report(&server, token, "job/finish", json!({"state": "succeeded"})).await.done();
    let part = server.get(owner, &format!("{log}?after=1&wait_seconds=30")).await.ok();
    assert_eq!(part, json!({"text": "", "next": 1, "is_complete": true}));

    let over = server.get(owner, &at(&run)).await.ok();
    assert_eq!((&over["state"], &over["finished_at"]), (&json!("succeeded"), &over["created_at"]));
    let list = server.get(owner, "/runs?state=succeeded").await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert!(list["items"][0].get("jobs").is_none());
    assert_eq!(server.get(owner, "/runs?state=failed").await.ok()["items"], json!([]));
}

#[tokio::test]
async fn what_a_run_is_given_is_checked() {
    let server = TestServer::start().await;
    let owner = &server.owner;
    let made = pipeline(&server, owner, "Build", PLAIN).await;
    let path = format!("/pipelines/{}/runs", made["id"].as_str().unwrap());
    let start = async |body: Value| server.post(owner, &path, body).await;
    start(json!({"branches": {"ghost": "main"}})).await.refused(400, "run_invalid");
    start(json!({"variables": {"BUILD_NUMBER": "9"}})).await.refused(400, "run_invalid");
    start(json!({"variables": {"A": 1}})).await.refused(400, "invalid_body");
    start(json!({"variable": {}})).await.refused(400, "invalid_body");
    start(json!({"comment": "x".repeat(1_001)})).await.invalid("/comment");
    let none = "/pipelines/pipe_00000000000000000000000000/runs";
    server.post(owner, none, json!({})).await.refused(404, "not_found");
    server.get(owner, "/runs?state=over").await.refused(400, "invalid_query");
    server.get(owner, "/runs?limit=201").await.invalid("/limit");
    assert_eq!(server.get(owner, "/runs").await.ok()["items"], json!([]));
}

#[tokio::test]
async fn a_run_is_canceled_and_a_job_tried_again() {
    let server = TestServer::start().await;
    let owner = &server.owner;
    let machine = runner(&server).await;
    let made = pipeline(&server, owner, "Build", PLAIN).await;
    let run = start(&server, owner, &made).await;
    let retry = format!("{}/retry", job(&run));
    server.post(owner, &retry, Value::Null).await.refused(409, "run_not_over");
    let cancel = format!("{}/cancel", at(&run));
    let canceled = server.call(Some(&owner.token), Method::POST, &cancel, None).await.ok();
    assert_eq!(
        (&canceled["state"], &canceled["jobs"][0]["state"]),
        (&json!("canceled"), &json!("canceled"))
    );
    assert_eq!(server.post(owner, &cancel, Value::Null).await.ok(), canceled);
    assert_eq!(claim(&server, &machine).await, Value::Null);

    let again = server.post(owner, &retry, Value::Null).await.ok();
    assert_eq!((&again["state"], &again["jobs"][0]["attempt"]), (&json!("queued"), &json!(2)));
    let claimed = claim(&server, &machine).await;
    assert_eq!(claimed["attempt"], 2);
    let token = claimed["job_token"].as_str().unwrap();
    report(&server, token, "job/finish", json!({"state": "succeeded"})).await.done();
    let done = format!("{}/jobs/{}/retry", at(&run), claimed["job_id"].as_str().unwrap());
    server.post(owner, &done, Value::Null).await.refused(409, "job_not_failed");
    server.post(owner, &retry, Value::Null).await.refused(409, "job_tried_again");
    for path in ["", "/cancel", "/jobs/job_00000000000000000000000000/retry"] {
        let method = if path.is_empty() { Method::GET } else { Method::POST };
        let answer = server.call(Some(&owner.token), method, &format!("{NONE}{path}"), None).await;
        answer.refused(404, "not_found");
    }
}

#[tokio::test]
async fn logs_are_read_within_their_limits() {
    let server = TestServer::start().await;
    let owner = &server.owner;
    let made = pipeline(&server, owner, "Build", PLAIN).await;
    let run = start(&server, owner, &made).await;
    let other = start(&server, owner, &made).await;
    let log = format!("{}/log", job(&run));
    let nothing = server.get(owner, &log).await.ok();
    assert_eq!(nothing, json!({"text": "", "next": 0, "is_complete": false}));
    server.get(owner, &format!("{log}?wait_seconds=31")).await.invalid("/wait_seconds");
    server.get(owner, &format!("{log}?after=-1")).await.invalid("/after");
    server.get(owner, &format!("{log}?from=1")).await.refused(400, "invalid_query");
    let mixed = job(&other).replace(other["id"].as_str().unwrap(), run["id"].as_str().unwrap());
    server.get(owner, &format!("{mixed}/log")).await.refused(404, "not_found");
    server.get(owner, &log.replace("/log", "x/log")).await.invalid("/job");
}

#[tokio::test]
async fn each_operation_is_for_those_only_whom_the_policies_name() {
    let server = TestServer::start().await;
    let made = pipeline(&server, &server.owner, "Build", PLAIN).await;
    let run = start(&server, &server.owner, &made).await;
    let (see, act) = (&[Role::Owner, Role::Admin, Role::Auditor], &[Role::Owner, Role::Admin]);
    let path = format!("/pipelines/{}/runs", made["id"].as_str().unwrap());
    server.only(act, Method::POST, &path, Some(json!({}))).await;
    let all = &[Role::Owner, Role::Admin, Role::Member, Role::Auditor];
    server.only(all, Method::GET, "/runs", None).await;
    server.only(see, Method::GET, &at(&run), None).await;
    server.only(see, Method::GET, &format!("{}/log", job(&run)), None).await;
    server.only(act, Method::POST, &format!("{}/cancel", at(&run)), None).await;
    let cancel = format!("{}/cancel", at(&run));
    server.post(&server.owner, &cancel, Value::Null).await.ok();
    server.only(act, Method::POST, &format!("{}/retry", job(&run)), None).await;
    // A member sees no runs of pipelines that they have no part in.
    let member = server.add(Role::Member).await;
    assert_eq!(server.get(&member, "/runs").await.ok()["items"], json!([]));
}
