//! Sharing a pipeline over HTTP.

use axum::http::Method;
use keyferry_domain::Role;
use serde_json::{Value, json};

use crate::fixture::{PASSWORD, Person, TestServer};
use crate::pipelines::{PLAIN, pipeline};

const ADMINS: &[Role] = &[Role::Owner, Role::Admin];
const NOBODY: &str = "user_00000000000000000000000000";

/// A server on which a plain member has made a pipeline; returns its path.
async fn start() -> (TestServer, Person, String) {
    let server = TestServer::start().await;
    let maker = server.add(Role::Member).await;
    let made = pipeline(&server, &maker, "Build", PLAIN).await;
    let path = format!("/pipelines/{}", made["id"].as_str().unwrap());
    (server, maker, path)
}

fn place(path: &str, who: &Person) -> String {
    format!("{path}/members/{}", who.id())
}

fn role(role: &str) -> Value {
    json!({"role": role})
}

fn changed(role: &str, version: i64) -> Value {
    json!({"role": role, "version": version})
}

#[tokio::test]
async fn a_role_in_a_pipeline_gives_what_it_says_until_it_is_taken_away() {
    let (server, maker, path) = start().await;
    let other = server.add(Role::Member).await;
    let members = format!("{path}/members");
    let listed = server.get(&maker, &members).await.ok();
    let owner = json!({"user_id": maker.id(), "role": "owner", "version": 1});
    assert_eq!(listed["items"], json!([owner]));
    server.get(&other, &path).await.refused(404, "not_found");

    let runs = format!("{path}/runs");
    let rename = json!({"name": "Build all", "version": 1});
    let given = server.put(&maker, &place(&path, &other), role("viewer")).await.ok();
    assert_eq!(given, json!({"user_id": other.id(), "role": "viewer", "version": 1}));
    server.get(&other, &path).await.ok();
    server.post(&other, &runs, json!({})).await.refused(403, "denied");

    server.put(&maker, &place(&path, &other), changed("runner", 1)).await.ok();
    server.post(&other, &runs, json!({})).await.created();
    server.patch(&other, &path, rename.clone()).await.refused(403, "denied");
    server.put(&other, &place(&path, &other), changed("admin", 2)).await.refused(403, "denied");

    server.put(&maker, &place(&path, &other), changed("admin", 2)).await.ok();
    let version = server.get(&other, &path).await.ok()["version"].clone();
    let rename = json!({"name": rename["name"], "version": version});
    server.patch(&other, &path, rename).await.ok();

    server.delete(&maker, &place(&path, &other)).await.done();
    server.get(&other, &path).await.refused(404, "not_found");
    server.get(&other, &members).await.refused(404, "not_found");
    let id = path.trim_start_matches("/pipelines/");
    let shared = server.audited("pipeline.share").await;
    let done: Vec<_> = shared.iter().filter(|event| event.starts_with("allowed")).collect();
    assert_eq!(done, vec![&format!("allowed pipeline {id}"); 4]);
}

#[tokio::test]
async fn only_those_who_share_a_pipeline_change_its_members() {
    let (server, _, path) = start().await;
    let other = server.add(Role::Member).await;
    let third = server.add(Role::Member).await;
    let set = Some(role("viewer"));
    server.only(ADMINS, Method::PUT, &place(&path, &other), set).await;
    server.put(&server.owner, &place(&path, &third), role("viewer")).await.ok();
    server.only(ADMINS, Method::DELETE, &place(&path, &third), None).await;
    let readers = &[Role::Owner, Role::Admin, Role::Auditor];
    server.only(readers, Method::GET, &format!("{path}/members"), None).await;
    // A viewer sees who takes part, and changes nothing.
    let seen = server.get(&third, &format!("{path}/members")).await.ok();
    let roles = seen["items"].as_array().unwrap();
    let own = roles.iter().find(|member| member["user_id"] == third.id()).unwrap();
    assert_eq!(own["role"], "viewer");
    server.put(&third, &place(&path, &third), changed("owner", 1)).await.refused(403, "denied");
    server.delete(&third, &place(&path, &third)).await.refused(403, "denied");
}

#[tokio::test]
async fn what_is_not_there_is_not_shared() {
    let (server, maker, path) = start().await;
    let outsider = server.outsider().await;
    let answer = server.put(&maker, &place(&path, &outsider), role("viewer")).await;
    let elsewhere = answer.refused(404, "not_found");
    let nobody = format!("{path}/members/{NOBODY}");
    let absent = server.put(&maker, &nobody, role("viewer")).await.refused(404, "not_found");
    let detail = |problem: &Value| problem["detail"].as_str().unwrap().to_owned();
    assert_eq!(detail(&elsewhere).replace(outsider.id(), NOBODY), detail(&absent));
    server.delete(&maker, &nobody).await.refused(404, "not_found");
    let other = server.add(Role::Member).await;
    server.delete(&maker, &place(&path, &other)).await.refused(404, "not_found");
    let none = "/pipelines/pipe_00000000000000000000000000";
    server.put(&maker, &place(none, &other), role("viewer")).await.refused(404, "not_found");
    server.get(&maker, &format!("{none}/members")).await.refused(404, "not_found");
    let id = format!("{path}/members/x");
    server.put(&maker, &id, role("viewer")).await.invalid("/user");
    for body in [json!({}), role("auditor"), json!({"role": "viewer", "more": 1})] {
        let answer = server.put(&maker, &place(&path, &other), body).await;
        answer.refused(400, "invalid_body");
    }
}

#[tokio::test]
async fn changes_name_the_version_that_was_read() {
    let (server, maker, path) = start().await;
    let other = server.add(Role::Member).await;
    let answer = server.put(&maker, &place(&path, &other), changed("viewer", 1)).await;
    answer.refused(409, "gone");
    server.put(&maker, &place(&path, &other), role("viewer")).await.ok();
    let answer = server.put(&maker, &place(&path, &other), role("runner")).await;
    answer.refused(409, "already_exists");
    server.put(&maker, &place(&path, &other), changed("runner", 1)).await.ok();
    server.put(&maker, &place(&path, &other), changed("admin", 1)).await.stale(2);
}

#[tokio::test]
async fn a_pipeline_keeps_an_owner() {
    let (server, maker, path) = start().await;
    let other = server.add(Role::Member).await;
    let mine = place(&path, &maker);
    for who in [&maker, &server.owner] {
        server.delete(who, &mine).await.refused(409, "last_owner");
        server.put(who, &mine, changed("admin", 1)).await.refused(409, "last_owner");
    }
    server.put(&maker, &place(&path, &other), role("owner")).await.ok();
    server.delete(&maker, &mine).await.done();
    assert_eq!(server.get(&other, &path).await.ok()["owner_id"], other.id());
    server.get(&maker, &path).await.refused(404, "not_found");
    server.delete(&other, &place(&path, &other)).await.refused(409, "last_owner");
}

#[tokio::test]
async fn of_two_owners_who_take_each_other_out_one_stays() {
    let (server, maker, path) = start().await;
    let other = server.add(Role::Member).await;
    server.put(&maker, &place(&path, &other), role("owner")).await.ok();
    let (theirs, mine) = (place(&path, &other), place(&path, &maker));
    let (one, two) = tokio::join!(server.delete(&maker, &theirs), server.delete(&other, &mine));
    assert_ne!(one.status == 204, two.status == 204, "{} {}", one.text, two.text);
    let listed = server.get(&server.owner, &format!("{path}/members")).await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn who_has_left_takes_no_part_after_coming_back() {
    let server = TestServer::start().await;
    let maker = server.sign_in(Role::Member).await;
    let made = pipeline(&server, &maker, "Build", PLAIN).await;
    let path = format!("/pipelines/{}", made["id"].as_str().unwrap());
    server.delete(&server.owner, &format!("/members/{}", maker.id())).await.done();
    let listed = server.get(&server.owner, &format!("{path}/members")).await.ok();
    assert_eq!(listed["items"], json!([]));
    let body = json!({"email": maker.email, "name": "Back", "role": "member"});
    let made = server.post(&server.owner, "/members", body).await.created();
    let body = json!({"invitation_token": made["invitation_token"], "password": PASSWORD});
    let session = server.accept(body).await.created();
    assert_eq!(session["user"]["id"], maker.id());
    let back = Person { token: session["token"].as_str().unwrap().to_owned(), ..maker };
    server.get(&back, &path).await.refused(404, "not_found");
    // An orphan is given to somebody by those who look after all.
    server.put(&server.owner, &place(&path, &back), role("owner")).await.ok();
    assert_eq!(server.get(&back, &path).await.ok()["owner_id"], back.id());
}
