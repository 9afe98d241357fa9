//! First start, sign-in, passwords, and who one is.

use axum::http::Method;
use keyferry_domain::Role;
use keyferry_domain::actor::Identity;
use keyferry_domain::{Actor, token::Token, token::TokenKind};
use serde_json::{Value, json};

use crate::fixture::{PASSWORD, Person, TestServer};

const WRONG: &str = "not the password at all";

fn setup(token: &str) -> Value {
    json!({
        "setup_token": token,
        "email": "second@example.com",
        "name": "Second",
        "password": PASSWORD,
        "organization_name": "Second",
    })
}

async fn set_up(server: &TestServer, body: &Value) -> crate::fixture::Answer {
    server.call(None, Method::POST, "/api/v1/setup", Some(body)).await
}

#[tokio::test]
async fn the_first_owner_is_made_by_the_one_time_link() {
    let server = TestServer::empty().await;
    let system = server.broker.system_actor();
    let link = server.broker.first_start_token(&system).await.unwrap().unwrap();
    let mut body = setup(link.expose());
    body["password"] = json!("short");
    set_up(&server, &body).await.invalid("/password");
    body["password"] = json!(PASSWORD);
    body["email"] = json!("nobody");
    set_up(&server, &body).await.invalid("/email");

    // What was wrong has not used the link up.
    let made = set_up(&server, &setup(link.expose())).await.created();
    assert!(made["token"].as_str().unwrap().starts_with("kf_sess_"));
    assert_eq!(made["user"]["memberships"][0]["role"], "owner");
    assert_eq!(made["user"]["memberships"][0]["organization_name"], "Second");
    set_up(&server, &setup(link.expose())).await.refused(401, "unauthenticated");
    assert!(server.broker.first_start_token(&system).await.unwrap().is_none());
}

#[tokio::test]
async fn each_start_makes_a_new_link_and_a_day_ends_it() {
    let server = TestServer::empty().await;
    let system = server.broker.system_actor();
    let first = server.broker.first_start_token(&system).await.unwrap().unwrap();
    let second = server.broker.first_start_token(&system).await.unwrap().unwrap();
    set_up(&server, &setup(first.expose())).await.refused(401, "unauthenticated");
    server.advance(24 * 60 * 60);
    set_up(&server, &setup(second.expose())).await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn neither_guesses_nor_other_tokens_set_a_server_up() {
    let server = TestServer::start().await;
    let invited = json!({"email": "new@example.com", "name": "New", "role": "owner"});
    let invitation = server.post(&server.owner, "/members", invited).await.created();
    let invitation = invitation["invitation_token"].as_str().unwrap();
    for token in ["", "x", "kf_setup_", &server.owner.token, invitation] {
        set_up(&server, &setup(token)).await.refused(401, "unauthenticated");
    }
    // Nor is the link of the first start an invitation.
    let empty = TestServer::empty().await;
    let system = empty.broker.system_actor();
    let link = empty.broker.first_start_token(&system).await.unwrap().unwrap();
    let body = json!({"invitation_token": link.expose(), "password": PASSWORD});
    empty.accept(body).await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn two_who_use_the_link_at_once_make_one_owner() {
    let server = TestServer::empty().await;
    let system = server.broker.system_actor();
    let link = server.broker.first_start_token(&system).await.unwrap().unwrap();
    let mut other = setup(link.expose());
    other["email"] = json!("other@example.com");
    let body = setup(link.expose());
    let (one, two) = tokio::join!(set_up(&server, &body), set_up(&server, &other));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 401], "{} {}", one.text, two.text);
}

#[tokio::test]
async fn signing_in_gives_a_session_of_twelve_hours() {
    let server = TestServer::start().await;
    let made = server.sign_in_as("OWNER@example.com", PASSWORD).await.created();
    assert_eq!(made["expires_at"], "2026-01-01T12:00:00.000Z");
    assert_eq!(made["user"]["id"], server.owner.id());
    let person =
        Person { token: made["token"].as_str().unwrap().to_owned(), ..server.owner.clone() };
    server.get(&person, "").await.ok();
    server.advance(12 * 60 * 60);
    server.get(&person, "").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn wrong_passwords_and_unknown_addresses_are_told_the_same() {
    let server = TestServer::start().await;
    let pending = json!({"email": "pending@example.com", "name": "Pending", "role": "owner"});
    server.post(&server.owner, "/members", pending).await.created();
    let mut told = Vec::new();
    for (email, password) in [
        ("owner@example.com", WRONG),
        ("nobody@example.com", PASSWORD),
        ("pending@example.com", PASSWORD),
        ("pending@example.com", ""),
        ("owner@example.com", ""),
        ("owner@example.com", &PASSWORD.repeat(100)),
        ("", PASSWORD),
        (&"x".repeat(10_000), PASSWORD),
    ] {
        let answer = server.sign_in_as(email, password).await;
        assert!(!answer.text.contains(PASSWORD), "the answer repeats the password");
        let mut problem = answer.refused(401, "unauthenticated");
        problem["request_id"] = Value::Null;
        told.push(problem);
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[tokio::test]
async fn guessing_at_an_account_is_slowed_down() {
    let server = TestServer::start().await;
    let member = server.sign_in(Role::Member).await;
    for _ in 0..20 {
        server.sign_in_as("owner@example.com", WRONG).await.refused(401, "unauthenticated");
    }
    let slowed = server.sign_in_as("Owner@Example.com", PASSWORD).await;
    let problem = slowed.refused(429, "too_many_tries");
    assert!(problem["retry_after_seconds"].as_u64().unwrap() >= 1, "{problem}");
    assert_eq!(
        slowed.headers["retry-after"].to_str().unwrap(),
        problem["retry_after_seconds"].to_string()
    );
    // Whoever is in already works on, and others still come in.
    server.get(&server.owner, "").await.ok();
    server.sign_in_as(&member.email, PASSWORD).await.created();
}

#[tokio::test]
async fn guessing_at_links_and_at_ones_own_password_is_slowed_down() {
    let server = TestServer::start().await;
    let accept = json!({"invitation_token": "x", "password": PASSWORD});
    let change = json!({"current_password": WRONG, "new_password": "short"});
    let path = "/api/v1/user/password";
    for _ in 0..20 {
        set_up(&server, &setup("x")).await.refused(401, "unauthenticated");
        server.accept(accept.clone()).await.refused(401, "unauthenticated");
        server.put(&server.owner, path, change.clone()).await.invalid("/new_password");
    }
    set_up(&server, &setup("x")).await.refused(429, "too_many_tries");
    server.accept(accept).await.refused(429, "too_many_tries");
    server.put(&server.owner, path, change).await.refused(429, "too_many_tries");
}

#[tokio::test]
async fn guessing_at_an_account_by_an_invitation_counts_as_signing_in() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    let body = json!({"email": outsider.email, "name": "X", "role": "member"});
    let made = server.post(&server.owner, "/members", body).await.created();
    let guess = json!({"invitation_token": made["invitation_token"], "password": WRONG});
    for _ in 0..10 {
        server.accept(guess.clone()).await.refused(401, "unauthenticated");
        server.sign_in_as(&outsider.email, WRONG).await.refused(401, "unauthenticated");
    }
    server.accept(guess).await.refused(429, "too_many_tries");
    server.sign_in_as(&outsider.email, PASSWORD).await.refused(429, "too_many_tries");
}

#[tokio::test]
async fn signing_out_ends_this_session_only() {
    let server = TestServer::start().await;
    let second = server.sign_in_as("owner@example.com", PASSWORD).await.created();
    let token = second["token"].as_str().unwrap().to_owned();
    let second = Person { token, ..server.owner.clone() };
    server.delete(&second, "/api/v1/sessions/current").await.done();
    server.get(&second, "").await.refused(401, "unauthenticated");
    server.delete(&second, "/api/v1/sessions/current").await.refused(401, "unauthenticated");
    server.get(&server.owner, "").await.ok();
    let token = server.token_of(&server.owner).await;
    server.delete(&token, "/api/v1/sessions/current").await.refused(400, "no_session");
}

#[tokio::test]
async fn everyone_is_told_who_they_are() {
    let server = TestServer::start().await;
    let member = server.sign_in(Role::Member).await;
    let me = server.get(&member, "/api/v1/user").await.ok();
    assert_eq!(me["id"], member.id());
    assert_eq!(me["email"], member.email.as_str());
    assert_eq!(
        me["memberships"],
        json!([{
            "organization_id": server.organization,
            "organization_name": "Example",
            "role": "member",
        }])
    );
    let answer = server.get(&member, "/api/v1/user").await;
    assert!(
        !answer.text.contains("argon2") && !answer.text.contains("password"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn a_changed_password_ends_every_other_session() {
    let server = TestServer::start().await;
    let member = server.sign_in(Role::Member).await;
    let elsewhere = server.sign_in_as(&member.email, PASSWORD).await.created();
    let token = elsewhere["token"].as_str().unwrap().to_owned();
    let elsewhere = Person { token, ..member.clone() };
    let new = "an entirely new password";
    let body = json!({"current_password": PASSWORD, "new_password": new});
    server.put(&member, "/api/v1/user/password", body).await.done();
    server.get(&elsewhere, "").await.refused(401, "unauthenticated");
    server.get(&member, "").await.ok();
    server.sign_in_as(&member.email, PASSWORD).await.refused(401, "unauthenticated");
    server.sign_in_as(&member.email, new).await.created();
}

#[tokio::test]
async fn a_password_is_not_changed_without_the_present_one_or_to_a_weak_one() {
    let server = TestServer::start().await;
    let path = "/api/v1/user/password";
    let body = |current: &str, new: &str| json!({"current_password": current, "new_password": new});
    let new = "an entirely new password";
    server.put(&server.owner, path, body(WRONG, new)).await.invalid("/current_password");
    server.put(&server.owner, path, body("", new)).await.invalid("/current_password");
    server.put(&server.owner, path, body(PASSWORD, "short")).await.invalid("/new_password");
    let long = "x".repeat(1025);
    server.put(&server.owner, path, body(PASSWORD, &long)).await.invalid("/new_password");
    let token = server.token_of(&server.owner).await;
    server.put(&token, path, body(PASSWORD, new)).await.refused(403, "session_needed");
    server
        .call(None, Method::PUT, path, Some(&body(PASSWORD, new)))
        .await
        .refused(401, "unauthenticated");
    server.sign_in_as("owner@example.com", PASSWORD).await.created();
}

#[tokio::test]
async fn a_weak_password_does_not_use_up_an_invitation() {
    let server = TestServer::start().await;
    let body = json!({"email": "new@example.com", "name": "New", "role": "member"});
    let made = server.post(&server.owner, "/members", body).await.created();
    let link = &made["invitation_token"];
    let weak = json!({"invitation_token": link, "password": "short"});
    server.accept(weak).await.invalid("/password");
    server.accept(json!({"invitation_token": link, "password": PASSWORD})).await.created();
}

#[tokio::test]
async fn forged_tokens_of_every_kind_are_nobody() {
    let server = TestServer::start().await;
    for kind in TokenKind::ALL {
        let forged = Token::generate(*kind, &predictable());
        let error = server
            .broker
            .authenticate(forged.text().expose(), server.broker.new_request_id(), None)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "unauthenticated", "{kind}");
    }
    // A one-time link is no token for anything else.
    let system = server.broker.system_actor();
    let anonymous = Actor { identity: Identity::Anonymous, ..system };
    let error = server.broker.get_current_user(&anonymous).await.unwrap_err();
    assert_eq!(error.code(), "not_a_person");
}

/// Bytes that look random enough for a token that nobody has made.
fn predictable() -> impl keyferry_domain::Random {
    struct Fixed;
    impl keyferry_domain::Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            for (index, byte) in bytes.iter_mut().enumerate() {
                *byte = u8::try_from(index * 7 % 251).unwrap();
            }
        }
    }
    Fixed
}
