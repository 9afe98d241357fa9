//! API tokens of people.

use axum::http::Method;
use keyferry_domain::Role;
use serde_json::{Value, json};

use crate::fixture::{Person, TestServer};

const DAY: u64 = 24 * 60 * 60;

async fn listed(server: &TestServer, person: &Person) -> Vec<Value> {
    let list = server.get(person, "/tokens?limit=200").await.ok();
    list["items"].as_array().unwrap().clone()
}

fn at(token: &Value) -> String {
    format!("/tokens/{}", token["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_token_is_shown_once_and_works_until_its_end() {
    let server = TestServer::start().await;
    let body = json!({"name": "laptop", "expires_in_days": 2});
    let made = server.post(&server.owner, "/tokens", body).await.created();
    let text = made["token"].as_str().unwrap();
    assert!(text.starts_with("kf_pat_"));
    assert_eq!(made["view"]["expires_at"], "2026-01-03T00:00:00.000Z");
    let person = Person { token: text.to_owned(), ..server.owner.clone() };
    server.get(&person, "").await.ok();

    let answer = server.get(&person, "/tokens").await;
    assert!(!answer.text.contains(text), "the list shows the token");
    let item = answer.ok()["items"][0].clone();
    assert!(text.starts_with(item["hint"].as_str().unwrap()));
    assert_eq!(item["last_used_at"], "2026-01-01T00:00:00.000Z");

    server.advance(2 * DAY - 1);
    server.get(&person, "").await.ok();
    server.advance(1);
    server.get(&person, "").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_token_works_for_thirty_days_when_nobody_says() {
    let server = TestServer::start().await;
    let made = server.post(&server.owner, "/tokens", json!({"name": "x"})).await.created();
    assert_eq!(made["view"]["expires_at"], "2026-01-31T00:00:00.000Z");
    let id = made["view"]["id"].as_str().unwrap();
    assert_eq!(server.audited("token.create").await, [format!("allowed token {id}")]);
}

#[tokio::test]
async fn tokens_without_a_name_or_a_reasonable_end_are_not_made() {
    let server = TestServer::start().await;
    for name in ["", " x", "a\nb"] {
        server.post(&server.owner, "/tokens", json!({"name": name})).await.invalid("/name");
    }
    for days in [0_u32, 367, u32::MAX] {
        let body = json!({"name": "x", "expires_in_days": days});
        server.post(&server.owner, "/tokens", body).await.invalid("/expires_in_days");
    }
    let body = json!({"name": "x", "expires_in_days": -1});
    server.post(&server.owner, "/tokens", body).await.refused(400, "invalid_body");
    assert_eq!(listed(&server, &server.owner).await, Vec::<Value>::new());
}

/// A leaked token that could make tokens would outlive its end and its revocation.
#[tokio::test]
async fn a_token_makes_no_tokens() {
    let server = TestServer::start().await;
    let token = server.token_of(&server.owner).await;
    server.post(&token, "/tokens", json!({"name": "x"})).await.refused(403, "session_needed");
    assert_eq!(listed(&server, &server.owner).await.len(), 1);
    let lines = server.audited("token.create").await;
    assert_eq!(lines.len(), 2, "the refusal is written down too: {lines:?}");
}

#[tokio::test]
async fn tokens_are_made_by_members_only() {
    let server = TestServer::start().await;
    let body = Some(json!({"name": "x"}));
    server.only(Role::ALL, Method::POST, "/tokens", body).await;
    let auditor = server.sign_in(Role::Auditor).await;
    server.token_of(&auditor).await;
}

#[tokio::test]
async fn nobody_has_more_than_a_hundred_tokens_that_work() {
    let server = TestServer::start().await;
    let make = async |days: u32| {
        let body = json!({"name": "x", "expires_in_days": days});
        server.post(&server.owner, "/tokens", body).await
    };
    let first = make(30).await.created();
    for _ in 0..98 {
        make(30).await.created();
    }
    make(1).await.created();
    make(30).await.refused(409, "too_many_tokens");
    // Somebody else still makes theirs, and one less makes room.
    let member = server.sign_in(Role::Member).await;
    server.token_of(&member).await;
    server.delete(&server.owner, &at(&first["view"])).await.done();
    make(30).await.created();
    make(30).await.refused(409, "too_many_tokens");
}

#[tokio::test]
async fn everyone_lists_their_own_and_those_who_look_after_people_all() {
    let server = TestServer::start().await;
    let member = server.add(Role::Member).await;
    let auditor = server.add(Role::Auditor).await;
    let admin = server.add(Role::Admin).await;
    server.token_of(&server.owner).await;
    let seen = listed(&server, &member).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0]["user_id"], member.id());
    for person in [&auditor, &admin, &server.owner] {
        assert_eq!(listed(&server, person).await.len(), 4, "{}", person.email);
    }
    server.only(Role::ALL, Method::GET, "/tokens", None).await;
}

#[tokio::test]
async fn links_and_tokens_of_runners_are_not_listed_and_not_revoked_here() {
    let server = TestServer::start().await;
    let body = json!({"email": "new@example.com", "name": "New", "role": "member"});
    server.post(&server.owner, "/members", body).await.created();
    server.post(&server.owner, "/runners", json!({"name": "one"})).await.created();
    assert_eq!(listed(&server, &server.owner).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_revoked_token_stops_working_at_once() {
    let server = TestServer::start().await;
    let member = server.add(Role::Member).await;
    let token = listed(&server, &member).await.remove(0);
    server.delete(&server.owner, &at(&token)).await.done();
    server.get(&member, "").await.refused(401, "unauthenticated");
    server.delete(&server.owner, &at(&token)).await.refused(404, "not_found");
    let id = token["id"].as_str().unwrap();
    assert_eq!(server.audited("token.revoke").await, [format!("allowed token {id}")]);
}

#[tokio::test]
async fn tokens_of_others_are_revoked_by_owners_and_admins_only() {
    let server = TestServer::start().await;
    let member = server.add(Role::Member).await;
    let token = listed(&server, &member).await.remove(0);
    server.only(&[Role::Owner, Role::Admin], Method::DELETE, &at(&token), None).await;
    // To another member it does not even exist; an auditor sees it and may not.
    let other = server.add(Role::Member).await;
    server.delete(&other, &at(&token)).await.refused(404, "not_found");
    let auditor = server.add(Role::Auditor).await;
    server.delete(&auditor, &at(&token)).await.refused(403, "denied");
    server.get(&member, "").await.ok();
    server.delete(&member, &at(&token)).await.done();
}

#[tokio::test]
async fn a_token_of_another_organization_is_not_found() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    let elsewhere = format!("/api/v1/organizations/{}/tokens", outsider.organization);
    let theirs = server.post(&outsider, &elsewhere, json!({"name": "x"})).await.created();
    server.delete(&server.owner, &at(&theirs["view"])).await.refused(404, "not_found");
    let theirs = Person { token: theirs["token"].as_str().unwrap().to_owned(), ..outsider };
    server.get(&theirs, "").await.refused(404, "not_found");
}
