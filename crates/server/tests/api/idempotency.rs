//! Creates that are sent again with the same `Idempotency-Key`.

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderValue, Request};
use keyferry_domain::Role;
use keyferry_server::http::openapi;
use serde_json::{Value, json};

use crate::fixture::{Answer, Person, TestServer};

const DAY: u64 = 24 * 60 * 60;

/// Sends `POST` with a key.
async fn post(server: &TestServer, who: &Person, rest: &str, key: &str, body: &Value) -> Answer {
    post_with(server, who, rest, &[HeaderValue::from_str(key).unwrap()], body).await
}

async fn post_with(
    server: &TestServer,
    who: &Person,
    rest: &str,
    keys: &[HeaderValue],
    body: &Value,
) -> Answer {
    let path = if rest.starts_with("/api/") { rest.to_owned() } else { server.path(rest) };
    let mut request = Request::post(path)
        .header(AUTHORIZATION, format!("Bearer {}", who.token))
        .header(CONTENT_TYPE, "application/json");
    for key in keys {
        request = request.header("Idempotency-Key", key);
    }
    server.send(request.body(Body::from(serde_json::to_vec(body).unwrap())).unwrap()).await
}

fn group(name: &str) -> Value {
    json!({"name": name, "users": []})
}

async fn count(server: &TestServer, rest: &str) -> usize {
    server.get(&server.owner, rest).await.ok()["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_create_that_is_sent_again_is_answered_alike_and_done_once() {
    let server = TestServer::start().await;
    let owner = &server.owner;
    let first = post(&server, owner, "/groups", "k-1", &group("ops")).await;
    let made = first.created();
    let again = post(&server, owner, "/groups", "k-1", &group("ops")).await;
    assert_eq!(again.created(), made);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert!(!first.headers.contains_key("idempotency-replayed"));
    assert_ne!(again.headers["x-request-id"], first.headers["x-request-id"]);
    assert_eq!(count(&server, "/groups").await, 1);
    assert_eq!(server.audited("group.create").await.len(), 1);
    // Without the key, or with another one, it is a request of its own.
    server.post(owner, "/groups", group("ops")).await.refused(409, "already_exists");
    let other = post(&server, owner, "/groups", "k-2", &group("ops")).await;
    other.refused(409, "already_exists");
}

#[tokio::test]
async fn of_two_that_race_one_is_done() {
    let server = TestServer::start().await;
    let body = json!({"name": "Second"});
    for round in 0..5 {
        let key = format!("race-{round}");
        let path = "/api/v1/organizations";
        let (one, two) = tokio::join!(
            post(&server, &server.owner, path, &key, &body),
            post(&server, &server.owner, path, &key, &body)
        );
        let (done, other) = if one.status == 201 { (one, two) } else { (two, one) };
        let made = done.created();
        if other.status == 201 {
            assert_eq!(other.created(), made);
        } else {
            other.refused(409, "request_unfinished");
        }
        assert_eq!(post(&server, &server.owner, path, &key, &body).await.created(), made);
        let all = server.get(&server.owner, path).await.ok();
        assert_eq!(all["items"].as_array().unwrap().len(), 2 + round);
    }
}

#[tokio::test]
async fn a_key_with_another_request_is_refused() {
    let server = TestServer::start().await;
    let owner = &server.owner;
    let other = server.outsider().await.organization;
    post(&server, owner, "/groups", "k-1", &group("ops")).await.created();
    for (rest, body) in [
        ("/groups".to_owned(), group("dev")),
        ("/pipelines".to_owned(), group("ops")),
        (format!("/api/v1/organizations/{other}/groups"), group("ops")),
    ] {
        let answer = post(&server, owner, &rest, "k-1", &body).await;
        answer.refused(422, "idempotency_key_reused");
    }
    assert_eq!(count(&server, "/groups").await, 1);
}

#[tokio::test]
async fn a_refused_request_can_be_tried_again_with_its_key() {
    let server = TestServer::start().await;
    let auditor = server.add(Role::Auditor).await;
    post(&server, &server.owner, "/groups", "k-1", &group("")).await.invalid("/name");
    post(&server, &server.owner, "/groups", "k-1", &group("ops")).await.created();
    for _ in 0..2 {
        post(&server, &auditor, "/groups", "k-1", &group("ops")).await.refused(403, "denied");
    }
    let mut nobody = auditor.clone();
    nobody.token = "kf_pat_nothing".to_owned();
    let answer = post(&server, &nobody, "/groups", "k-1", &group("ops")).await;
    answer.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_secret_is_shown_once_and_kept_nowhere() {
    let server = TestServer::start().await;
    let workload = json!({"connections": ["files"], "label": "deploy"});
    let connection = json!({
        "name": "Files", "type": "generic", "connection_id": "files", "scope": "public",
        "credential": {"kind": "values", "fields": {"KEY": "canary-in-a-request"}},
    });
    let answer = post(&server, &server.owner, "/connections", "c-1", &connection).await;
    let made = answer.created();
    let again = post(&server, &server.owner, "/connections", "c-1", &connection).await;
    assert_eq!(again.created(), made);
    let member = json!({"email": "new@example.com", "name": "New", "role": "member"});
    let mut secrets = vec!["canary-in-a-request".to_owned()];
    for (rest, body, secret, id) in [
        ("/tokens", json!({"name": "laptop"}), "/token", "/view/id"),
        ("/runners", json!({"name": "one"}), "/token", "/view/id"),
        ("/workloads", workload, "/token", "/id"),
        ("/members", member, "/invitation_token", "/member/user_id"),
    ] {
        let made = post(&server, &server.owner, rest, rest, &body).await.created();
        let secret = made.pointer(secret).unwrap().as_str().unwrap().to_owned();
        let id = made.pointer(id).unwrap().as_str().unwrap();
        let again = post(&server, &server.owner, rest, rest, &body).await;
        let problem = again.refused(409, "already_done");
        assert!(problem["detail"].as_str().unwrap().contains(id), "{problem}");
        assert!(!again.text.contains(&secret));
        secrets.push(secret);
    }
    let database = std::fs::read(server.close().await).unwrap();
    for secret in secrets {
        let found = database.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{secret} is in the database");
    }
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let server = TestServer::start().await;
    // A session does not last so long.
    let token = server.token_of(&server.owner).await;
    let system = server.broker.system_actor();
    let first = post(&server, &token, "/groups", "k-1", &group("ops")).await.created();
    server.advance(DAY - 1);
    server.broker.sweep_idempotency_keys(&system).await.unwrap();
    assert_eq!(post(&server, &token, "/groups", "k-1", &group("ops")).await.created(), first);
    server.advance(1);
    // It counts as new, whether it was swept or not.
    for sweeps in [false, true] {
        if sweeps {
            server.broker.sweep_idempotency_keys(&system).await.unwrap();
        }
        let answer = post(&server, &token, "/groups", "k-1", &group("ops")).await;
        answer.refused(409, "already_exists");
    }
}

#[tokio::test]
async fn a_key_belongs_to_the_caller_and_to_the_token_that_sent_it() {
    let server = TestServer::start().await;
    let admin = server.add(Role::Admin).await;
    let token = server.token_of(&server.owner).await;
    for (number, who) in [&server.owner, &admin, &token].into_iter().enumerate() {
        let answer = post(&server, who, "/groups", "k-1", &group(&format!("g-{number}"))).await;
        answer.created();
    }
    assert_eq!(count(&server, "/groups").await, 3);
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let server = TestServer::start().await;
    let key = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
    for keys in [
        vec![key("")],
        vec![key("a b")],
        vec![key("ä")],
        vec![key(&"k".repeat(256))],
        vec![key("one"), key("two")],
    ] {
        let answer = post_with(&server, &server.owner, "/groups", &keys, &group("ops")).await;
        answer.refused(400, "invalid_idempotency_key");
    }
    let longest = [key(&"k".repeat(255))];
    post_with(&server, &server.owner, "/groups", &longest, &group("ops")).await.created();
}

#[tokio::test]
async fn a_key_that_would_be_ignored_is_refused() {
    let server = TestServer::start().await;
    let session = json!({"email": server.owner.email, "password": crate::fixture::PASSWORD});
    for (rest, body) in [("/connections/files/verify", json!({})), ("/api/v1/sessions", session)] {
        let answer = post(&server, &server.owner, rest, "k-1", &body).await;
        answer.refused(400, "idempotency_key_not_taken");
    }
}

#[test]
fn every_operation_that_creates_for_a_known_caller_takes_the_header() {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let mut takers = Vec::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            if parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key") {
                takers.push(operation["operationId"].as_str().unwrap().to_owned());
            }
        }
    }
    takers.sort();
    let expected = [
        "create_connection",
        "create_credential",
        "create_group",
        "create_member",
        "create_organization",
        "create_pipeline",
        "create_run",
        "create_runner",
        "create_token",
        "create_workload",
        "issue_lease",
    ];
    assert_eq!(takers, expected);
}
