//! Organizations: tenants that see nothing of each other.

use axum::http::Method;
use keyferry_domain::Role;
use serde_json::json;

use crate::fixture::{NO_ORGANIZATION, TestServer};

#[tokio::test]
async fn an_owner_adds_an_organization_and_owns_it() {
    let server = TestServer::start().await;
    let made = server.post(&server.owner, "/api/v1/organizations", json!({"name": "Second"})).await;
    let made = made.created();
    assert_eq!((&made["name"], &made["version"]), (&json!("Second"), &json!(1)));
    let id = made["id"].as_str().unwrap();
    let seen = server.get(&server.owner, &format!("/api/v1/organizations/{id}")).await.ok();
    assert_eq!(seen, made);
    let me = server.get(&server.owner, "/api/v1/user").await.ok();
    let places = me["memberships"].as_array().unwrap();
    assert!(
        places.iter().any(|place| place["organization_id"] == id && place["role"] == "owner"),
        "{me}"
    );
}

#[tokio::test]
async fn only_owners_who_are_signed_in_add_organizations() {
    let server = TestServer::start().await;
    let body = json!({"name": "Second"});
    let path = "/api/v1/organizations";
    server.call(None, Method::POST, path, Some(&body)).await.refused(401, "unauthenticated");
    // An API token works in one organization, so it makes no other.
    let second_owner = server.add(Role::Owner).await;
    server.post(&second_owner, path, body.clone()).await.refused(403, "session_needed");
    let admin = server.sign_in(Role::Admin).await;
    server.post(&admin, path, body).await.refused(403, "owners_only");
}

#[tokio::test]
async fn names_that_do_not_fit_are_refused() {
    let server = TestServer::start().await;
    for name in ["", "  ", " x", "x\u{7}", &"x".repeat(101)] {
        let made = server.post(&server.owner, "/api/v1/organizations", json!({"name": name}));
        made.await.invalid("/name");
        let body = json!({"name": name, "version": 1});
        server.patch(&server.owner, "", body).await.invalid("/name");
    }
}

#[tokio::test]
async fn everyone_sees_their_own_organizations_only() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    let list = server.get(&outsider, "/api/v1/organizations").await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["id"], outsider.organization.as_str());
    server
        .call(None, Method::GET, "/api/v1/organizations", None)
        .await
        .refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_token_shows_no_other_organization_of_its_person() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    let path = format!("/api/v1/organizations/{}", outsider.organization);
    // The owner made that organization, so in a session they see it.
    server.get(&server.owner, &path).await.ok();
    let token = server.token_of(&server.owner).await;
    let list = server.get(&token, "/api/v1/organizations").await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    server.get(&token, &path).await.refused(404, "not_found");
}

#[tokio::test]
async fn an_organization_is_seen_by_its_members_only() {
    let server = TestServer::start().await;
    for role in Role::ALL {
        let person = server.add(*role).await;
        let seen = server.get(&person, "").await.ok();
        assert_eq!(seen["name"], "Example");
    }
    server.only(Role::ALL, Method::GET, "", None).await;
    let nowhere = format!("/api/v1/organizations/{NO_ORGANIZATION}");
    server.get(&server.owner, &nowhere).await.refused(404, "not_found");
    server.get(&server.owner, "/api/v1/organizations/example").await.invalid("/organization");
}

#[tokio::test]
async fn admins_rename_the_organization() {
    let server = TestServer::start().await;
    let admin = server.add(Role::Admin).await;
    let renamed = server.patch(&admin, "", json!({"name": "Renamed", "version": 1})).await.ok();
    assert_eq!((&renamed["name"], &renamed["version"]), (&json!("Renamed"), &json!(2)));
    assert_eq!(server.get(&admin, "").await.ok(), renamed);
    let target = format!("allowed organization {}", server.organization);
    assert_eq!(server.audited("organization.update").await, [target]);
}

#[tokio::test]
async fn others_do_not_rename_it_and_a_stale_version_does_not_either() {
    let server = TestServer::start().await;
    let body = json!({"name": "Renamed", "version": 1});
    server.only(&[Role::Owner, Role::Admin], Method::PATCH, "", Some(body.clone())).await;
    server.patch(&server.owner, "", body.clone()).await.ok();
    server.patch(&server.owner, "", body).await.stale(2);
    let nowhere = format!("/api/v1/organizations/{NO_ORGANIZATION}");
    let body = json!({"name": "Renamed", "version": 1});
    server.patch(&server.owner, &nowhere, body).await.refused(404, "not_found");
    let lines = server.audited("organization.update").await;
    let refused = lines.iter().filter(|line| line.starts_with("refused ")).count();
    assert_eq!(refused, 3, "member, auditor and outsider: {lines:?}");
}
