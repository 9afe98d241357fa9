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
    let first = server.broker.start_embedded_runner(&system).await.unwrap();
    assert_eq!(server.get(&server.owner, "/runners").await.ok()["items"], json!([]));
    let path = format!("/runners/{}", first.record.id);
    server.delete(&server.owner, &path).await.refused(404, "not_found");
    let person = server.actor(&server.owner.user);
    let error = server.broker.start_embedded_runner(&person).await.unwrap_err();
    assert_eq!(error.code(), "system_only");
    let error = server.broker.stop_embedded_runner(&person, &first.record.id).await.unwrap_err();
    assert_eq!(error.code(), "system_only");
    // A runner of an organization is not one of a server's.
    let theirs = runner(&server).await["view"]["id"].as_str().unwrap().parse().unwrap();
    let error = server.broker.stop_embedded_runner(&system, &theirs).await.unwrap_err();
    assert_eq!(error.code(), "not_found");
}

#[tokio::test]
async fn each_server_on_a_database_has_a_runner_of_its_own() {
    let server = TestServer::start().await;
    let system = server.broker.system_actor();
    let one = server.broker.start_embedded_runner(&system).await.unwrap();
    let two = server.broker.start_embedded_runner(&system).await.unwrap();
    assert_ne!(one.record.id, two.record.id);
    for token in [&one.token, &two.token] {
        let answer = claim(&server, token.expose()).await;
        assert!(answer.status.is_success(), "{}", answer.text);
    }
    // One stops as it should; the other's goes on.
    server.broker.stop_embedded_runner(&system, &one.record.id).await.unwrap();
    claim(&server, one.token.expose()).await.refused(401, "unauthenticated");
    assert!(claim(&server, two.token.expose()).await.status.is_success());
}

#[tokio::test]
async fn what_a_dead_server_left_is_deleted_at_the_next_start() {
    let server = TestServer::start().await;
    let system = server.broker.system_actor();
    let dead = server.broker.start_embedded_runner(&system).await.unwrap();
    let alive = server.broker.start_embedded_runner(&system).await.unwrap();
    assert!(claim(&server, dead.token.expose()).await.status.is_success());
    server.clock.advance(std::time::Duration::from_mins(9));
    assert!(claim(&server, alive.token.expose()).await.status.is_success());
    server.clock.advance(std::time::Duration::from_mins(2));
    let next = server.broker.start_embedded_runner(&system).await.unwrap();
    claim(&server, dead.token.expose()).await.refused(401, "unauthenticated");
    for token in [&alive.token, &next.token] {
        assert!(claim(&server, token.expose()).await.status.is_success());
    }
}
