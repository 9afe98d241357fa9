//! Groups: named sets of members.

use axum::http::Method;
use keyferry_domain::Role;
use serde_json::{Value, json};

use crate::fixture::{Person, TestServer, encoded};

const NOTHING: &str = "/groups/group_00000000000000000000000000";

async fn group(server: &TestServer, name: &str, users: &[&Person]) -> Value {
    let users: Vec<&str> = users.iter().map(|user| user.id()).collect();
    let body = json!({"name": name, "users": users});
    server.post(&server.owner, "/groups", body).await.created()
}

fn at(group: &Value) -> String {
    format!("/groups/{}", group["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_group_is_made_of_members_named_once() {
    let server = TestServer::start().await;
    let admin = server.add(Role::Admin).await;
    let member = server.add(Role::Member).await;
    let body = json!({"name": "Team", "users": [member.id(), member.id()]});
    let made = server.post(&admin, "/groups", body).await.created();
    assert_eq!(made["users"], json!([member.id()]));
    assert_eq!((&made["name"], &made["version"]), (&json!("Team"), &json!(1)));
    let id = made["id"].as_str().unwrap();
    assert_eq!(server.audited("group.create").await, [format!("allowed group {id}")]);
}

#[tokio::test]
async fn groups_are_made_by_owners_and_admins_only() {
    let server = TestServer::start().await;
    let body = Some(json!({"name": "Team", "users": []}));
    server.only(&[Role::Owner, Role::Admin], Method::POST, "/groups", body).await;
    let list = server.get(&server.owner, "/groups").await.ok();
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn only_members_of_this_organization_are_put_into_its_groups() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    let nobody = "user_00000000000000000000000000";
    let users = |user: &str| json!({"name": "Team", "users": [server.owner.id(), user]});
    for user in [outsider.id(), nobody] {
        server.post(&server.owner, "/groups", users(user)).await.invalid("/users/1");
    }
    let body = json!({"name": "Team", "users": ["alice"]});
    server.post(&server.owner, "/groups", body).await.refused(400, "invalid_body");
    let many = vec![server.owner.id(); 1_001];
    let body = json!({"name": "Team", "users": many});
    server.post(&server.owner, "/groups", body).await.invalid("/users");
    // Neither the group nor half of it is there.
    assert_eq!(server.get(&server.owner, "/groups").await.ok()["items"], json!([]));
    group(&server, "Team", &[]).await;
}

#[tokio::test]
async fn names_are_unique_whatever_their_case() {
    let server = TestServer::start().await;
    group(&server, "Team", &[]).await;
    let body = json!({"name": "TEAM", "users": []});
    server.post(&server.owner, "/groups", body).await.refused(409, "already_exists");
    let other = group(&server, "Other", &[]).await;
    let body = json!({"name": "team", "users": [], "version": 1});
    server.put(&server.owner, &at(&other), body).await.refused(409, "already_exists");
    for name in ["", " Team", "a\u{0}b"] {
        let body = json!({"name": name, "users": []});
        server.post(&server.owner, "/groups", body).await.invalid("/name");
    }
}

#[tokio::test]
async fn another_organization_may_use_the_same_name() {
    let server = TestServer::start().await;
    group(&server, "Team", &[]).await;
    let outsider = server.outsider().await;
    let elsewhere = format!("/api/v1/organizations/{}/groups", outsider.organization);
    server.post(&outsider, &elsewhere, json!({"name": "Team", "users": []})).await.created();
}

#[tokio::test]
async fn groups_are_listed_by_name_to_members_only() {
    let server = TestServer::start().await;
    for name in ["gamma", "Alpha", "beta"] {
        group(&server, name, &[&server.owner]).await;
    }
    let auditor = server.add(Role::Auditor).await;
    let mut names = Vec::new();
    let mut path = "/groups?limit=1".to_owned();
    loop {
        let page = server.get(&auditor, &path).await.ok();
        for item in page["items"].as_array().unwrap() {
            names.push(item["name"].as_str().unwrap().to_owned());
            assert_eq!(item["users"], json!([server.owner.id()]));
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/groups?limit=1&cursor={}", encoded(cursor));
    }
    assert_eq!(names, ["Alpha", "beta", "gamma"]);
    server.only(Role::ALL, Method::GET, "/groups", None).await;
}

#[tokio::test]
async fn a_group_is_replaced_by_the_version_that_was_read() {
    let server = TestServer::start().await;
    let member = server.add(Role::Member).await;
    let made = group(&server, "Team", &[&server.owner]).await;
    let body = json!({"name": "Crew", "users": [member.id()], "version": 1});
    let changed = server.put(&server.owner, &at(&made), body.clone()).await.ok();
    assert_eq!(changed["users"], json!([member.id()]));
    assert_eq!((&changed["name"], &changed["version"]), (&json!("Crew"), &json!(2)));
    server.put(&server.owner, &at(&made), body).await.stale(2);
    let list = server.get(&server.owner, "/groups").await.ok();
    assert_eq!(list["items"], json!([changed]));
}

#[tokio::test]
async fn a_refused_change_of_a_group_changes_nothing() {
    let server = TestServer::start().await;
    let made = group(&server, "Team", &[&server.owner]).await;
    let nobody = "user_00000000000000000000000000";
    let body = json!({"name": "Crew", "users": [nobody], "version": 1});
    server.put(&server.owner, &at(&made), body).await.invalid("/users/0");
    let body = json!({"name": "Crew", "users": [], "version": 1});
    server.only(&[Role::Owner, Role::Admin], Method::PUT, &at(&made), Some(body.clone())).await;
    server.put(&server.owner, NOTHING, body).await.refused(404, "not_found");
    assert_eq!(server.get(&server.owner, "/groups").await.ok()["items"], json!([made]));
}

#[tokio::test]
async fn a_group_of_another_organization_is_not_found() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    let elsewhere = format!("/api/v1/organizations/{}/groups", outsider.organization);
    let body = json!({"name": "Theirs", "users": []});
    let theirs = server.post(&outsider, &elsewhere, body).await.created();
    let body = json!({"name": "Ours", "users": [], "version": 1});
    server.put(&server.owner, &at(&theirs), body).await.refused(404, "not_found");
    server.delete(&server.owner, &at(&theirs)).await.refused(404, "not_found");
}

#[tokio::test]
async fn groups_are_deleted_by_owners_and_admins_only() {
    let server = TestServer::start().await;
    let made = group(&server, "Team", &[&server.owner]).await;
    server.only(&[Role::Owner, Role::Admin], Method::DELETE, &at(&made), None).await;
    let admin = server.add(Role::Admin).await;
    server.delete(&admin, &at(&made)).await.done();
    server.delete(&admin, &at(&made)).await.refused(404, "not_found");
    let id = made["id"].as_str().unwrap();
    let lines = server.audited("group.delete").await;
    assert_eq!(lines.last().unwrap(), &format!("allowed group {id}"));
    assert_eq!(lines.iter().filter(|line| line.starts_with("allowed")).count(), 1);
}
