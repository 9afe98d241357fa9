//! Runners: registering, seeing and deleting programs that execute jobs.

use axum::http::Method;
use keyferry_domain::Role;
use serde_json::{Value, json};

use crate::fixture::{Answer, TestServer};

async fn runner(server: &TestServer) -> Value {
    server.post(&server.owner, "/runners", json!({"name": "one"})).await.created()
}

fn at(made: &Value) -> String {
    format!("/runners/{}", made["view"]["id"].as_str().unwrap())
}

/// Asks for a job, without waiting for one.
async fn claim(server: &TestServer, token: &str) -> Answer {
    let body = json!({"isolation": "process", "wait_seconds": 0});
    server.call(Some(token), Method::POST, "/api/v1/runner/claim", Some(&body)).await
}

#[tokio::test]
async fn a_registered_runner_asks_for_work() {
    let server = TestServer::start().await;
    let made = runner(&server).await;
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("kf_runner_"));
    assert_eq!(made["view"]["last_seen_at"], Value::Null);
    server.advance(1);
    claim(&server, token).await;
    let answer = server.get(&server.owner, "/runners").await;
    assert!(!answer.text.contains(token), "the list shows the token");
    let seen = answer.ok()["items"][0].clone();
    assert_eq!(seen["name"], "one");
    assert_eq!(seen["last_seen_at"], "2026-01-01T00:00:01.000Z");
    let id = made["view"]["id"].as_str().unwrap();
    assert_eq!(server.audited("runner.create").await, [format!("allowed runner {id}")]);
}

#[tokio::test]
async fn runners_are_registered_by_owners_and_admins_only() {
    let server = TestServer::start().await;
    let body = Some(json!({"name": "one"}));
    server.only(&[Role::Owner, Role::Admin], Method::POST, "/runners", body).await;
    for name in ["", "x ", &"x".repeat(101)] {
        server.post(&server.owner, "/runners", json!({"name": name})).await.invalid("/name");
    }
    let list = server.get(&server.owner, "/runners").await.ok();
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn a_runner_reads_and_changes_nothing() {
    let server = TestServer::start().await;
    let made = runner(&server).await;
    let token = made["token"].as_str();
    for path in ["", "/members", "/tokens", "/connections", "/audit-events", "/runners"] {
        let answer = server.call(token, Method::GET, path, None).await;
        assert_eq!(answer.problem()["status"], 403, "{}", answer.text);
    }
    server.call(token, Method::GET, "/api/v1/user", None).await.refused(403, "not_a_person");
    let answer = server.call(token, Method::DELETE, &at(&made), None).await;
    assert_eq!(answer.problem()["status"], 403);
}

#[tokio::test]
async fn people_claim_no_jobs() {
    let server = TestServer::start().await;
    claim(&server, &server.owner.token).await.refused(403, "not_a_runner");
}

#[tokio::test]
async fn runners_are_listed_to_members_only() {
    let server = TestServer::start().await;
    let first = runner(&server).await;
    let second = runner(&server).await;
    let member = server.add(Role::Member).await;
    let page = server.get(&member, "/runners?limit=1").await.ok();
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = server.get(&member, &format!("/runners?limit=1&cursor={cursor}")).await.ok();
    assert_eq!(rest.get("next_cursor"), None);
    let mut seen = vec![page["items"][0].clone(), rest["items"][0].clone()];
    let mut expected = vec![first["view"].clone(), second["view"].clone()];
    seen.sort_by_key(|view| view["id"].to_string());
    expected.sort_by_key(|view| view["id"].to_string());
    assert_eq!(seen, expected);
    server.only(Role::ALL, Method::GET, "/runners", None).await;
}

#[tokio::test]
async fn a_deleted_runner_is_nobody_any_more() {
    let server = TestServer::start().await;
    let made = runner(&server).await;
    server.only(&[Role::Owner, Role::Admin], Method::DELETE, &at(&made), None).await;
    let admin = server.add(Role::Admin).await;
    server.delete(&admin, &at(&made)).await.done();
    claim(&server, made["token"].as_str().unwrap()).await.refused(401, "unauthenticated");
    server.delete(&admin, &at(&made)).await.refused(404, "not_found");
    assert_eq!(server.get(&admin, "/runners").await.ok()["items"], json!([]));
    let id = made["view"]["id"].as_str().unwrap();
    let lines = server.audited("runner.delete").await;
    assert_eq!(lines.last().unwrap(), &format!("allowed runner {id}"));
}

#[tokio::test]
async fn a_runner_of_another_organization_is_not_found() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    let elsewhere = format!("/api/v1/organizations/{}/runners", outsider.organization);
    let theirs = server.post(&outsider, &elsewhere, json!({"name": "x"})).await.created();
    server.delete(&server.owner, &at(&theirs)).await.refused(404, "not_found");
}

/// The runner inside the server belongs to no organization.
#[tokio::test]
async fn the_servers_own_runner_is_neither_listed_nor_deleted() {
    let server = TestServer::start().await;
    let system = server.broker.system_actor();
    let first = server.broker.embedded_runner_token(&system).await.unwrap();
    assert_eq!(server.get(&server.owner, "/runners").await.ok()["items"], json!([]));
    claim(&server, first.expose()).await;
    // Each start makes a new token; the one of before is worth nothing.
    let second = server.broker.embedded_runner_token(&system).await.unwrap();
    claim(&server, first.expose()).await.refused(401, "unauthenticated");
    let answer = claim(&server, second.expose()).await;
    assert!(answer.status.is_success(), "{}", answer.text);
    let person = server.actor(&server.owner.user);
    let error = server.broker.embedded_runner_token(&person).await.unwrap_err();
    assert_eq!(error.code(), "system_only");
}
