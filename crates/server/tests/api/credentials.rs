//! Credentials over HTTP: they go in, and nothing of them comes out.

use axum::http::Method;
use keyferry_domain::Role;
use keyferry_testkit::Canary;
use serde_json::{Value, json};

use crate::fixture::TestServer;

const EVERYONE_BUT_AUDITORS: &[Role] = &[Role::Owner, Role::Admin, Role::Member];
const NOT_THERE: &str = "/credentials/cred_00000000000000000000000000";

fn token(secret: &str) -> Value {
    json!({"name": "Robot", "credential": {"kind": "token", "fields": {"token": secret}}})
}

#[tokio::test]
async fn create_credential_answers_without_the_secret() {
    let server = TestServer::start().await;
    let canary = Canary::awkward("credential").unwrap();
    let made = server.post(&server.owner, "/credentials", token(canary.value())).await;
    canary.assert_absent_in("an answer", &made.text);
    let made = made.created();
    assert_eq!(made["kind"], "token");
    assert_eq!(made["public_fields"], json!({"username": "oauth2"}));
    assert_eq!(made["versions"][0]["state"], json!({"state": "current"}));
    assert_eq!((&made["connections"], &made["version"]), (&json!([]), &json!(1)));
    let id = made["id"].as_str().unwrap();
    for rest in ["/credentials".to_owned(), format!("/credentials/{id}")] {
        let answer = server.get(&server.owner, &rest).await;
        canary.assert_absent_in("an answer", &answer.text);
        assert!(answer.text.contains(id));
    }
    canary.assert_absent_in(
        "the audit record",
        server.get(&server.owner, "/audit-events").await.text,
    );
    canary.assert_absent_in_files(server.folder());
    server.only(EVERYONE_BUT_AUDITORS, Method::POST, "/credentials", Some(token("x"))).await;
}

#[tokio::test]
async fn create_credential_refuses_what_is_no_credential() {
    let server = TestServer::start().await;
    let canary = Canary::new("refused").unwrap();
    let secret = canary.value();
    let with = |credential: Value| json!({"name": "Robot", "credential": credential});
    for (body, pointer) in [
        (with(json!({"kind": "token", "fields": {}})), "/credential/fields/token"),
        (with(json!({"kind": "token", "fields": {"tokn": secret}})), "/credential/fields/tokn"),
        (
            with(json!({"kind": "token", "fields": {"token": "a\u{0}b"}})),
            "/credential/fields/token",
        ),
        (with(json!({"kind": "token", "fields": {"token": "a\nb"}})), "/credential/fields/token"),
        (
            with(json!({"kind": "values", "files": {"f": format!("{secret}%")}})),
            "/credential/files/f",
        ),
        (with(json!({"kind": "values", "fields": {"a/b": secret}})), "/credential/fields/a~1b"),
        (json!({"name": "", "credential": token(secret)["credential"]}), "/name"),
    ] {
        let refused = server.post(&server.owner, "/credentials", body).await;
        refused.invalid(pointer);
        canary.assert_absent_in("a refusal", &refused.text);
    }
    for body in [
        json!({"name": "Robot"}),
        with(json!({"kind": "password", "fields": {"token": secret}})),
        with(json!({"kind": "token", "fields": {"token": 7}})),
        with(json!({"kind": "token", "fields": {"token": secret}, "extra": 1})),
        with(json!({"kind": "token", "fields": {"token": [secret]}})),
    ] {
        let refused = server.post(&server.owner, "/credentials", body).await;
        refused.refused(400, "invalid_body");
        canary.assert_absent_in("a refusal", &refused.text);
    }
    let list = server.get(&server.owner, "/credentials").await.ok();
    assert_eq!(list["items"], json!([]), "nothing is half-written");
}

#[tokio::test]
async fn list_credentials_shows_ones_own_page_by_page() {
    let server = TestServer::start().await;
    let member = server.add(Role::Member).await;
    server.post(&server.owner, "/credentials", token("x")).await.created();
    for _ in 0..3 {
        server.post(&member, "/credentials", token("x")).await.created();
    }
    let first = server.get(&member, "/credentials?limit=2").await.ok();
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = server.get(&member, &format!("/credentials?limit=2&cursor={cursor}")).await.ok();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
    for who in [&server.owner, &server.add(Role::Auditor).await] {
        let all = server.get(who, "/credentials").await.ok();
        assert_eq!(all["items"].as_array().unwrap().len(), 4);
    }
    server.get(&member, "/credentials?limit=0").await.invalid("/limit");
    server.get(&member, "/credentials?search=x").await.refused(400, "invalid_query");
    server.only(Role::ALL, Method::GET, "/credentials", None).await;
}

#[tokio::test]
async fn get_credential_is_for_its_owner_and_those_who_look_after_all() {
    let server = TestServer::start().await;
    let made = server.post(&server.owner, "/credentials", token("x")).await.created();
    let path = format!("/credentials/{}", made["id"].as_str().unwrap());
    assert_eq!(server.get(&server.owner, &path).await.ok(), made);
    server.get(&server.owner, NOT_THERE).await.refused(404, "not_found");
    server.get(&server.owner, "/credentials/conn_1").await.refused(400, "invalid_input");
    let them = [Role::Owner, Role::Admin, Role::Auditor];
    server.only(&them, Method::GET, &path, None).await;
    let outsider = server.outsider().await;
    let elsewhere = format!("/api/v1/organizations/{}{path}", outsider.organization);
    server.get(&outsider, &elsewhere).await.refused(404, "not_found");
}

#[tokio::test]
async fn update_credential_renames_the_version_that_was_read() {
    let server = TestServer::start().await;
    let made = server.post(&server.owner, "/credentials", token("x")).await.created();
    let path = format!("/credentials/{}", made["id"].as_str().unwrap());
    let rename = |version: i64| json!({"name": "Renamed", "version": version});
    let renamed = server.patch(&server.owner, &path, rename(1)).await.ok();
    assert_eq!((&renamed["name"], &renamed["version"]), (&json!("Renamed"), &json!(2)));
    server.patch(&server.owner, &path, rename(1)).await.stale(2);
    let empty = json!({"name": " ", "version": 2});
    server.patch(&server.owner, &path, empty).await.invalid("/name");
    let secret = json!({"name": "x", "version": 2, "credential": {"kind": "token"}});
    server.patch(&server.owner, &path, secret).await.refused(400, "invalid_body");
    server.patch(&server.owner, NOT_THERE, rename(1)).await.refused(404, "not_found");
    server.only(&[Role::Owner, Role::Admin], Method::PATCH, &path, Some(rename(2))).await;
}

#[tokio::test]
async fn delete_credential_takes_unused_ones_only() {
    let server = TestServer::start().await;
    let made = server.post(&server.owner, "/credentials", token("x")).await.created();
    let id = made["id"].as_str().unwrap();
    let path = format!("/credentials/{id}");
    let connection = json!({
        "name": "Forge", "type": "gitea", "connection_id": "forge", "scope": "private",
        "settings": {"base_url": "http://127.0.0.1:1"}, "credential_id": id, "skip_verify": true,
    });
    server.post(&server.owner, "/connections", connection).await.created();
    let refused = server.delete(&server.owner, &path).await.refused(409, "credential_in_use");
    assert_eq!(refused["used_by"], json!(["forge"]));
    server.only(&[Role::Owner, Role::Admin], Method::DELETE, &path, None).await;
    let free = server.post(&server.owner, "/credentials", token("x")).await.created();
    let path = format!("/credentials/{}", free["id"].as_str().unwrap());
    server.delete(&server.owner, &path).await.done();
    server.delete(&server.owner, &path).await.refused(404, "not_found");
    server.get(&server.owner, &path).await.refused(404, "not_found");
}
