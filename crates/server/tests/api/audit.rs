//! The audit record: who reads it, how it is filtered, and that it notices changes.

use axum::http::Method;
use keyferry_broker::audit::AuditReport;
use keyferry_domain::Role;
use serde_json::{Value, json};

use crate::fixture::{NO_ORGANIZATION, PASSWORD, TestServer};

async fn list(server: &TestServer, query: &str) -> Vec<Value> {
    let list = server.get(&server.owner, &format!("/audit-events?{query}")).await.ok();
    list["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_is_done_and_what_is_refused_is_written_down_with_who_and_why() {
    let server = TestServer::start().await;
    let member = server.add(Role::Member).await;
    let body = json!({"name": "Team", "users": []});
    let refused = server.post(&member, "/groups", body.clone()).await;
    refused.refused(403, "denied");
    let done = server.post(&server.owner, "/groups", body).await;
    let group = done.created();

    let events = list(&server, "action=group.create&outcome=refused").await;
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(event["actor_kind"], "user");
    assert_eq!(event["actor_id"], member.id());
    assert!(event["actor_via"].as_str().unwrap().starts_with("tok_"), "{event}");
    assert_eq!(event["request_id"], refused.headers["x-request-id"].to_str().unwrap());
    assert_eq!(event["target_kind"], "organization");
    assert!(!event["reason"].as_str().unwrap().is_empty(), "{event}");

    let events = list(&server, &format!("target_id={}", group["id"].as_str().unwrap())).await;
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((&event["outcome"], &event["action"]), (&json!("allowed"), &json!("group.create")));
    assert_eq!(event["request_id"], done.headers["x-request-id"].to_str().unwrap());
    assert_eq!(event["hash"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn filters_add_up() {
    let server = TestServer::start().await;
    let body = |name: &str| json!({"name": name, "users": []});
    server.post(&server.owner, "/groups", body("one")).await.created();
    server.advance(60);
    server.post(&server.owner, "/groups", body("two")).await.created();
    let count = async |query: &str| list(&server, query).await.len();
    assert_eq!(count("action=group.create").await, 2);
    assert_eq!(count("action=group.create&since=2026-01-01T00:01:00Z").await, 1);
    assert_eq!(count("action=group.create&until=2026-01-01T00:01:00Z").await, 1);
    assert_eq!(count("action=group.create&until=2026-01-01T00:00:00Z").await, 0);
    assert_eq!(count(&format!("action=group.create&actor_id={}", server.owner.id())).await, 2);
    assert_eq!(count("action=group.create&actor_id=user_0").await, 0);
    assert_eq!(count("action=group.create&outcome=failed").await, 0);
    assert_eq!(count("action=group").await, 0);
    for query in ["outcome=maybe", "since=yesterday", "action=x&action=y", "request_id=x"] {
        let path = format!("/audit-events?{query}");
        server.get(&server.owner, &path).await.refused(400, "invalid_query");
    }
}

#[tokio::test]
async fn pages_go_back_in_time_without_gaps() {
    let server = TestServer::start().await;
    for number in 0..5 {
        server.advance(1);
        let body = json!({"name": format!("group {number}"), "users": []});
        server.post(&server.owner, "/groups", body).await.created();
    }
    let mut sequences = Vec::new();
    let mut path = "/audit-events?action=group.create&limit=2".to_owned();
    loop {
        let page = server.get(&server.owner, &path).await.ok();
        let items = page["items"].as_array().unwrap();
        sequences.extend(items.iter().map(|event| event["sequence"].as_i64().unwrap()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/audit-events?action=group.create&limit=2&cursor={cursor}");
    }
    assert_eq!(sequences.len(), 5);
    assert!(sequences.is_sorted_by(|newer, older| newer > older), "{sequences:?}");
}

#[tokio::test]
async fn the_record_is_read_by_owners_admins_and_auditors_only() {
    let server = TestServer::start().await;
    for role in [Role::Owner, Role::Admin, Role::Auditor] {
        let person = server.add(role).await;
        server.get(&person, "/audit-events").await.ok();
    }
    let readers = [Role::Owner, Role::Admin, Role::Auditor];
    server.only(&readers, Method::GET, "/audit-events", None).await;
    let nowhere = format!("/api/v1/organizations/{NO_ORGANIZATION}/audit-events");
    server.get(&server.owner, &nowhere).await.refused(404, "not_found");
    let lines = server.audited("audit.read").await;
    assert_eq!(lines.len(), 2, "the member's and the outsider's refusals: {lines:?}");
}

#[tokio::test]
async fn nothing_of_another_organization_is_in_the_record() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    let elsewhere = format!("/api/v1/organizations/{}/groups", outsider.organization);
    let body = json!({"name": "Theirs", "users": []});
    let theirs = server.post(&outsider, &elsewhere, body).await.created();
    let id = theirs["id"].as_str().unwrap();
    assert_eq!(list(&server, &format!("target_id={id}")).await, Vec::<Value>::new());
    let all = server.get(&server.owner, "/audit-events?limit=200").await;
    assert!(!all.text.contains(id) && !all.text.contains(outsider.id()), "{}", all.text);
}

#[tokio::test]
async fn no_secret_is_in_the_record() {
    let server = TestServer::start().await;
    let member = server.sign_in(Role::Member).await;
    let token = server.token_of(&member).await;
    let runner = server.post(&server.owner, "/runners", json!({"name": "one"})).await.created();
    server.sign_in_as(&member.email, "a wrong password").await.refused(401, "unauthenticated");
    // A password in the place of the address is a common slip.
    server.sign_in_as("a misplaced password", "x").await.refused(401, "unauthenticated");
    let database = std::fs::read(server.close().await).unwrap();
    let holds = |text: &str| database.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(&member.email), "this is not where the server writes");
    let secrets = [
        PASSWORD,
        "a wrong password",
        "a misplaced password",
        &member.token,
        &token.token,
        runner["token"].as_str().unwrap(),
    ];
    for secret in secrets {
        assert!(!holds(secret), "the database holds {}…", &secret[..8]);
    }
}

#[tokio::test]
async fn the_chain_is_whole_and_checked_on_the_servers_machine_only() {
    let server = TestServer::start().await;
    server.add(Role::Member).await;
    let report = server.broker.verify_audit_chain(&server.broker.system_actor()).await.unwrap();
    assert!(report.events >= 4 && report.first_broken.is_none(), "{report:?}");
    // The newest are those of the organization.
    let events = list(&server, "limit=200").await;
    let newest = events.iter().max_by_key(|event| event["sequence"].as_i64()).unwrap();
    assert_eq!(report.last_hash.as_deref(), newest["hash"].as_str());
    let person = server.actor(&server.owner.user);
    let error = server.broker.verify_audit_chain(&person).await.unwrap_err();
    assert_eq!(error.code(), "system_only");
}

/// Closes the server, replaces a text in the file of its database, and checks the record.
async fn check_after(server: &TestServer, from: &str, to: &str) -> AuditReport {
    assert_eq!(from.len(), to.len(), "the file's structure must stay");
    let path = server.close().await;
    let mut database = std::fs::read(&path).unwrap();
    let places: Vec<usize> = database
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from.as_bytes())
        .map(|(place, _)| place)
        .collect();
    assert!(!places.is_empty(), "`{from}` is not in the database");
    for place in places {
        database[place..place + from.len()].copy_from_slice(to.as_bytes());
    }
    std::fs::write(&path, database).unwrap();
    let broker = server.open_again().await;
    let report = broker.verify_audit_chain(&broker.system_actor()).await.unwrap();
    broker.close().await;
    report
}

#[tokio::test]
async fn an_edited_event_is_noticed() {
    let server = TestServer::start().await;
    server.add(Role::Member).await;
    let report = check_after(&server, r#""action":"member.create""#, r#""action":"member.delete""#);
    let broken = report.await.first_broken.unwrap();
    assert!(broken.reason.contains("column `action`"), "{broken:?}");
}

/// As an editor would who knows that lists are made by columns: both are changed alike.
#[tokio::test]
async fn an_event_edited_in_every_place_is_noticed() {
    let server = TestServer::start().await;
    server.add(Role::Member).await;
    let report = check_after(&server, "member.create", "member.delete").await;
    let broken = report.first_broken.unwrap();
    assert!(broken.reason.contains("hash"), "{broken:?}");
    assert!(broken.sequence > 1 && report.events == broken.sequence.unsigned_abs() - 1);
}

/// The column stands right before the kind of the target, without a quotation mark.
#[tokio::test]
async fn an_event_hidden_from_lists_is_noticed() {
    let server = TestServer::start().await;
    server.add(Role::Member).await;
    let report = check_after(&server, "member.createmember", "member.deletemember").await;
    let broken = report.first_broken.unwrap();
    assert!(broken.reason.contains("column `action`"), "{broken:?}");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_any_more_is_named() {
    let server = TestServer::start().await;
    server.add(Role::Member).await;
    let report = check_after(&server, r#""action":"member.create""#, r#""action":{member.create""#);
    let broken = report.await.first_broken.unwrap();
    assert!(broken.reason.contains("column `event`"), "{broken:?}");
}

#[tokio::test]
async fn an_untouched_record_is_whole_after_a_restart() {
    let server = TestServer::start().await;
    server.add(Role::Member).await;
    let report = check_after(&server, "Example", "EXAMPLE").await;
    assert!(report.events >= 4 && report.first_broken.is_none(), "{report:?}");
}
