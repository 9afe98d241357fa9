//! What runners and jobs call, and who may not.

use axum::http::Method;
use keyferry_domain::Role;
use serde_json::{Value, json};

use crate::fixture::TestServer;
use crate::pipelines::{PLAIN, connection, pipeline, using};
use crate::runs::{claim, report, runner, start};

/// Every call about a job, with a body that would do.
fn calls() -> [(&'static str, Value); 4] {
    [
        ("job/heartbeat", json!({})),
        ("job/log", json!({"sequence": 1, "text": "x"})),
        ("job/step", json!({"key": "compile", "state": "running"})),
        ("job/finish", json!({"state": "succeeded"})),
    ]
}

#[tokio::test]
async fn a_runner_claims_a_job_and_reports_about_it() {
    let server = TestServer::start().await;
    let owner = &server.owner;
    let machine = runner(&server).await;
    connection(&server, owner, "forge").await;
    let made = pipeline(&server, owner, "Build", &using("forge")).await;
    assert_eq!(claim(&server, &machine).await, Value::Null);
    let run = start(&server, owner, &made).await;
    let claimed = claim(&server, &machine).await;
    assert_eq!(claimed["run_id"], run["id"]);
    assert_eq!(claimed["organization_id"], server.organization.as_str());
    assert_eq!((&claimed["attempt"], &claimed["heartbeat_seconds"]), (&json!(1), &json!(5)));
    assert_eq!(claimed["plan"]["id"], "build.compile");
    assert_eq!(
        claimed["connections"],
        json!([{
            "connection_id": "forge",
            "connection_type": "git",
            "address": "https://git.example.com",
            "can_merge": false,
            "can_delete_branches": true,
        }])
    );
    let token = claimed["job_token"].as_str().unwrap();
    assert!(token.starts_with("kf_job_"), "{token}");
    assert_eq!(claim(&server, &machine).await, Value::Null);

    let alive = report(&server, token, "job/heartbeat", json!({"uses": {"forge": 2}})).await.ok();
    assert_eq!(alive, json!({"cancel_requested": false, "due_at": "2026-01-01T00:00:30.000Z"}));
    report(&server, token, "job/step", json!({"key": "compile", "state": "running"})).await.done();
    let body = json!({"key": "compile", "state": "failed", "reason": "exit status 2"});
    report(&server, token, "job/step", body).await.done();
    let body = json!({"state": "failed", "reason": "exit status 2"});
    report(&server, token, "job/finish", body).await.done();
    let over = server.get(owner, &format!("/runs/{}", run["id"].as_str().unwrap())).await.ok();
    assert_eq!(over["state"], "failed");
    assert_eq!(over["jobs"][0]["isolation"], "process");
    assert_eq!(over["jobs"][0]["steps"][0]["reason"], "exit status 2");
    for (what, body) in calls() {
        report(&server, token, what, body).await.refused(401, "unauthenticated");
    }
}

#[tokio::test]
async fn nobody_else_claims_or_reports() {
    let server = TestServer::start().await;
    let machine = runner(&server).await;
    let made = pipeline(&server, &server.owner, "Build", PLAIN).await;
    start(&server, &server.owner, &made).await;
    let body = json!({"isolation": "process"});
    let url = "/api/v1/runner/claim";
    server.call(None, Method::POST, url, Some(&body)).await.refused(401, "unauthenticated");
    for role in [Role::Owner, Role::Admin, Role::Member, Role::Auditor] {
        let person = server.add(role).await;
        report(&server, &person.token, "claim", body.clone()).await.refused(403, "not_a_runner");
        for (what, body) in calls() {
            report(&server, &person.token, what, body).await.refused(403, "not_a_job");
        }
    }
    for (what, body) in calls() {
        report(&server, &machine, what, body).await.refused(403, "not_a_job");
    }
    let claimed = claim(&server, &machine).await;
    let token = claimed["job_token"].as_str().unwrap();
    report(&server, token, "claim", body).await.refused(403, "not_a_runner");
    // A job's token opens nothing else.
    let run = server.path(&format!("/runs/{}", claimed["run_id"].as_str().unwrap()));
    server.call(Some(token), Method::GET, &run, None).await.refused(403, "denied");
    server.call(Some(token), Method::GET, "/pipelines", None).await.refused(403, "denied");
    server.call(Some(token), Method::GET, "/connections", None).await.refused(403, "denied");
    // One of another organization's runners gets nothing.
    let outsider = server.outsider().await;
    let other = server.actor(&outsider.user);
    let theirs = server.broker.create_runner(&other, &outsider.organization, "x").await.unwrap();
    start(&server, &server.owner, &made).await;
    assert_eq!(claim(&server, theirs.token.expose()).await, Value::Null);
}

#[tokio::test]
async fn bad_reports_are_refused_and_change_nothing() {
    let server = TestServer::start().await;
    let machine = runner(&server).await;
    let claims = async |body: Value| report(&server, &machine, "claim", body).await;
    claims(json!({})).await.refused(400, "invalid_body");
    claims(json!({"isolation": "none"})).await.refused(400, "invalid_body");
    claims(json!({"isolation": "process", "extra": 1})).await.refused(400, "invalid_body");
    claims(json!({"isolation": "process", "wait_seconds": 31})).await.invalid("/wait_seconds");
    let made = pipeline(&server, &server.owner, "Build", PLAIN).await;
    let run = start(&server, &server.owner, &made).await;
    let claimed = claim(&server, &machine).await;
    let token = claimed["job_token"].as_str().unwrap();
    for (what, body, code) in [
        ("job/log", json!({"sequence": 2, "text": "x"}), "log_gap"),
        ("job/step", json!({"key": "ghost", "state": "running"}), "not_found"),
        ("job/step", json!({"key": "compile", "state": "waiting"}), "invalid_input"),
        ("job/step", json!({"key": "compile", "state": "broken"}), "invalid_body"),
        ("job/log", json!({"sequence": 0, "text": "x"}), "invalid_input"),
        ("job/log", json!({"sequence": 1, "text": "x".repeat(256 * 1024 + 1)}), "invalid_input"),
        ("job/log", json!({"sequence": "1", "text": "x"}), "invalid_body"),
        ("job/heartbeat", json!({"uses": {"forge": -1}}), "invalid_body"),
        ("job/finish", json!({"state": "running"}), "invalid_input"),
        ("job/finish", json!({}), "invalid_body"),
    ] {
        let problem = report(&server, token, what, body).await.problem();
        assert_eq!(problem["code"], code, "{what}: {problem}");
    }
    let now =
        server.get(&server.owner, &format!("/runs/{}", run["id"].as_str().unwrap())).await.ok();
    assert_eq!(now["jobs"][0]["steps"][0]["state"], "waiting");
    assert_eq!((&now["state"], &now["jobs"][0]["state"]), (&json!("running"), &json!("running")));
    report(&server, token, "job/finish", json!({"state": "canceled"})).await.done();
}

#[tokio::test]
async fn a_cancel_reaches_the_job_by_its_heartbeat() {
    let server = TestServer::start().await;
    let machine = runner(&server).await;
    let made = pipeline(&server, &server.owner, "Build", PLAIN).await;
    let run = start(&server, &server.owner, &made).await;
    let claimed = claim(&server, &machine).await;
    let token = claimed["job_token"].as_str().unwrap();
    let cancel = format!("/runs/{}/cancel", run["id"].as_str().unwrap());
    server.post(&server.owner, &cancel, Value::Null).await.ok();
    let alive = report(&server, token, "job/heartbeat", json!({})).await.ok();
    assert_eq!(alive["cancel_requested"], true);
}

#[tokio::test]
async fn a_job_whose_runner_is_lost_fails_and_its_token_is_dead() {
    // Never heard of, it has not begun and waits again; the token of that claim is dead all the same.
    for (is_heard, state) in [(true, "failed"), (false, "queued")] {
        let server = TestServer::start().await;
        let machine = runner(&server).await;
        let made = pipeline(&server, &server.owner, "Build", PLAIN).await;
        let run = start(&server, &server.owner, &made).await;
        let claimed = claim(&server, &machine).await;
        let token = claimed["job_token"].as_str().unwrap();
        if is_heard {
            report(&server, token, "job/heartbeat", json!({})).await.ok();
        }
        server.advance(31);
        server.broker.sweep_runs(&server.broker.system_actor()).await.unwrap();
        let path = format!("/runs/{}", run["id"].as_str().unwrap());
        let now = server.get(&server.owner, &path).await.ok();
        assert_eq!(now["state"], state);
        let reason = now["reason"].as_str().unwrap_or_default();
        assert_eq!(reason.contains("runner was lost"), is_heard, "{reason}");
        for (what, body) in calls() {
            report(&server, token, what, body).await.refused(401, "unauthenticated");
        }
    }
}
