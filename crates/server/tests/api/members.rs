//! Members: adding, seeing, changing and removing people.

use std::collections::BTreeMap;

use axum::http::Method;
use keyferry_domain::Role;
use serde_json::{Value, json};

use crate::fixture::{PASSWORD, Person, TestServer};

const NOBODY: &str = "/members/user_00000000000000000000000000";

fn newcomer(role: &str) -> Value {
    json!({"email": "Newcomer@Example.com", "name": "Newcomer", "role": role})
}

fn acceptance(made: &Value, password: &str) -> Value {
    json!({"invitation_token": made["invitation_token"], "password": password})
}

fn at(person: &Person) -> String {
    format!("/members/{}", person.user)
}

/// Reads a member's present version.
async fn version(server: &TestServer, person: &Person) -> i64 {
    let list = server.get(&server.owner, "/members?limit=200").await.ok();
    let member = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|member| member["user_id"] == person.id())
        .unwrap()
        .clone();
    member["version"].as_i64().unwrap()
}

#[tokio::test]
async fn a_new_person_is_invited_and_signs_in() {
    let server = TestServer::start().await;
    let admin = server.add(Role::Admin).await;
    let made = server.post(&admin, "/members", newcomer("member")).await.created();
    assert_eq!(made["member"]["email"], "Newcomer@Example.com");
    assert_eq!(made["member"]["role"], "member");
    let link = &made["invitation_token"];
    assert!(link.as_str().unwrap().starts_with("kf_setup_"), "{made}");

    let accepted =
        server.accept(json!({"invitation_token": link, "password": PASSWORD})).await.created();
    assert_eq!(accepted["user"]["memberships"][0]["role"], "member");
    let user = made["member"]["user_id"].as_str().unwrap();
    assert_eq!(
        server.audited("member.create").await.last().unwrap(),
        &format!("allowed member {user}")
    );
    // The address is theirs, whatever its case.
    server.sign_in_as("newcomer@example.COM", PASSWORD).await.created();
}

#[tokio::test]
async fn an_invitation_works_once_and_for_a_day() {
    let server = TestServer::start().await;
    let made = server.post(&server.owner, "/members", newcomer("member")).await.created();
    let body = json!({"invitation_token": made["invitation_token"], "password": PASSWORD});
    let admin = server.add(Role::Admin).await;
    server.advance(24 * 60 * 60);
    server.accept(body.clone()).await.refused(401, "unauthenticated");

    let again = server.post(&admin, "/members", newcomer("member")).await.created();
    assert_eq!(again["member"]["user_id"], made["member"]["user_id"]);
    let fresh = json!({"invitation_token": again["invitation_token"], "password": PASSWORD});
    server.accept(fresh.clone()).await.created();
    server.accept(fresh).await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn inviting_again_ends_the_link_of_before() {
    let server = TestServer::start().await;
    let first = server.post(&server.owner, "/members", newcomer("member")).await.created();
    let second = server.post(&server.owner, "/members", newcomer("member")).await.created();
    let accept = |made: &Value| {
        server.accept(json!({"invitation_token": made["invitation_token"], "password": PASSWORD}))
    };
    accept(&first).await.refused(401, "unauthenticated");
    accept(&second).await.created();
    assert_eq!(server.audited("member.create").await.len(), 1);
    assert_eq!(server.audited("member.invite").await.len(), 1);
}

#[tokio::test]
async fn whoever_was_removed_before_answering_cannot_accept_any_more() {
    let server = TestServer::start().await;
    let made = server.post(&server.owner, "/members", newcomer("admin")).await.created();
    let user = made["member"]["user_id"].as_str().unwrap();
    server.delete(&server.owner, &format!("/members/{user}")).await.done();
    let body = json!({"invitation_token": made["invitation_token"], "password": PASSWORD});
    server.accept(body).await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn removing_somebody_who_was_invited_ends_their_placeholder() {
    let server = TestServer::start().await;
    let first = server.post(&server.owner, "/members", newcomer("admin")).await.created();
    let user = first["member"]["user_id"].as_str().unwrap();
    server.delete(&server.owner, &format!("/members/{user}")).await.done();
    server.delete(&server.owner, &format!("/members/{user}")).await.refused(404, "not_found");
    // Another invitation is of somebody new, also with another role.
    let body = json!({"email": "newcomer@example.com", "name": "Renamed", "role": "member"});
    let second = server.post(&server.owner, "/members", body).await.created();
    assert_ne!(second["member"]["user_id"], first["member"]["user_id"]);
    assert_eq!(second["member"]["name"], "Renamed");
    server.accept(acceptance(&first, PASSWORD)).await.refused(401, "unauthenticated");
    let session = server.accept(acceptance(&second, PASSWORD)).await.created();
    assert_eq!(session["user"]["id"], second["member"]["user_id"]);
}

/// An outsider must not learn who has an account, nor its name, nor its id.
#[tokio::test]
async fn an_address_with_an_account_elsewhere_is_answered_like_one_without() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    let add = async |email: &str| {
        let body = json!({"email": email, "name": "Typed", "role": "auditor"});
        let answer = server.post(&server.owner, "/members", body).await;
        assert!(!answer.text.contains(outsider.id()), "{}", answer.text);
        let mut made = answer.created();
        assert_eq!(made["member"]["name"], "Typed");
        assert!(made["invitation_token"].as_str().unwrap().starts_with("kf_setup_"));
        made["member"]["user_id"] = Value::Null;
        made["invitation_token"] = Value::Null;
        Value::String(made.to_string().replace(email, "ADDRESS"))
    };
    assert_eq!(add(&outsider.email).await, add("nobody@example.com").await);
    // Again, and by lists and events, it is the same.
    assert_eq!(add(&outsider.email).await, add("nobody@example.com").await);
    for path in ["/members", "/audit-events?limit=200"] {
        let seen = server.get(&server.owner, path).await;
        seen.ok();
        assert!(!seen.text.contains(outsider.id()), "{}", seen.text);
        assert!(!seen.text.contains("Outsider"), "{}", seen.text);
    }
    // The account has got nothing before it accepts.
    server.get(&outsider, "/members").await.refused(404, "not_found");
    let me = server.get(&outsider, "/api/v1/user").await.ok();
    assert_eq!(me["memberships"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_account_accepts_with_its_own_password_only() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    let body = json!({"email": outsider.email.to_uppercase(), "name": "Typed", "role": "auditor"});
    let made = server.post(&server.owner, "/members", body.clone()).await.created();
    let wrong = server.accept(acceptance(&made, "not the password at all")).await;
    let problem = wrong.refused(401, "unauthenticated");
    assert!(problem["hint"].as_str().unwrap().contains("still works"), "{problem}");
    server.accept(acceptance(&made, "short")).await.invalid("/password");
    server
        .sign_in_as(&outsider.email, "not the password at all")
        .await
        .refused(401, "unauthenticated");
    server.get(&outsider, "/members").await.refused(404, "not_found");
    assert_eq!(server.audited("invitation.accept").await, [""; 0]);

    let session = server.accept(acceptance(&made, PASSWORD)).await.created();
    assert_eq!(session["user"]["id"], outsider.id());
    assert_eq!(session["user"]["name"], "Outsider");
    assert_eq!(session["user"]["memberships"].as_array().unwrap().len(), 2);
    server.get(&outsider, "/members").await.ok();
    assert_eq!(
        server.audited("invitation.accept").await,
        [format!("allowed user {}", outsider.user)]
    );
    server.accept(acceptance(&made, PASSWORD)).await.refused(401, "unauthenticated");
    server.post(&server.owner, "/members", body).await.refused(409, "already_exists");
}

#[tokio::test]
async fn two_organizations_invite_the_same_new_person() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    let elsewhere = format!("/api/v1/organizations/{}/members", outsider.organization);
    let here = server.post(&server.owner, "/members", newcomer("owner")).await.created();
    let there = server.post(&outsider, &elsewhere, newcomer("member")).await.created();
    assert_ne!(here["member"]["user_id"], there["member"]["user_id"]);

    let first = server.accept(acceptance(&there, PASSWORD)).await.created();
    assert_eq!(first["user"]["memberships"].as_array().unwrap().len(), 1, "{first}");
    // Whoever has the other link is not that person without the password.
    let other = acceptance(&here, "another good password");
    server.accept(other).await.refused(401, "unauthenticated");
    let second = server.accept(acceptance(&here, PASSWORD)).await.created();
    assert_eq!(second["user"]["id"], first["user"]["id"]);
    assert_eq!(second["user"]["memberships"].as_array().unwrap().len(), 2, "{second}");
}

#[tokio::test]
async fn an_invitation_that_an_account_has_is_renewed_like_any_other() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    let body = json!({"email": outsider.email, "name": "Typed", "role": "member"});
    let first = server.post(&server.owner, "/members", body.clone()).await.created();
    let second = server.post(&server.owner, "/members", body).await.created();
    assert_eq!(first["member"], second["member"]);
    server.accept(acceptance(&first, PASSWORD)).await.refused(401, "unauthenticated");
    server.accept(acceptance(&second, PASSWORD)).await.created();
}

#[tokio::test]
async fn a_list_tells_who_has_not_accepted_yet() {
    let server = TestServer::start().await;
    let made = server.post(&server.owner, "/members", newcomer("member")).await.created();
    assert_eq!(made["member"]["invited"], true);
    let invited = async || {
        let list = server.get(&server.owner, "/members").await.ok();
        let items = list["items"].as_array().unwrap();
        let of = |item: &Value| {
            let email = item["email"].as_str().unwrap().to_owned();
            (email, item["invited"].as_bool().unwrap())
        };
        items.iter().map(of).collect::<BTreeMap<_, _>>()
    };
    let expected = |newcomer| {
        let all = [("owner@example.com", false), ("Newcomer@Example.com", newcomer)];
        all.map(|(email, is_invited)| (email.to_owned(), is_invited)).into()
    };
    assert_eq!(invited().await, expected(true));
    server.accept(acceptance(&made, PASSWORD)).await.created();
    assert_eq!(invited().await, expected(false));
}

#[tokio::test]
async fn who_is_there_already_is_not_added_again() {
    let server = TestServer::start().await;
    let body = json!({"email": "OWNER@example.com", "name": "Owner", "role": "member"});
    server.post(&server.owner, "/members", body).await.refused(409, "already_exists");
    server.post(&server.owner, "/members", newcomer("member")).await.created();
    // Another role is another wish than a new link.
    server.post(&server.owner, "/members", newcomer("admin")).await.refused(409, "already_exists");
}

#[tokio::test]
async fn people_without_a_usable_address_name_or_role_are_not_added() {
    let server = TestServer::start().await;
    for email in ["", "nobody", "a@b@c", "a b@c", "a@b\n"] {
        let body = json!({"email": email, "name": "X", "role": "member"});
        server.post(&server.owner, "/members", body).await.invalid("/email");
    }
    let body = json!({"email": "x@example.com", "name": " ", "role": "member"});
    server.post(&server.owner, "/members", body).await.invalid("/name");
    let body = json!({"email": "x@example.com", "name": "X", "role": "root"});
    server.post(&server.owner, "/members", body).await.refused(400, "invalid_body");
}

#[tokio::test]
async fn only_owners_and_admins_add_people_and_only_owners_add_owners() {
    let server = TestServer::start().await;
    let body = Some(newcomer("member"));
    server.only(&[Role::Owner, Role::Admin], Method::POST, "/members", body).await;
    let admin = server.add(Role::Admin).await;
    server.post(&admin, "/members", newcomer("owner")).await.refused(403, "denied");
    server.post(&server.owner, "/members", newcomer("owner")).await.created();
    // Nor by a new link for an owner who has not answered yet.
    server.post(&admin, "/members", newcomer("owner")).await.refused(403, "denied");
}

#[tokio::test]
async fn members_are_listed_page_by_page_to_members_only() {
    let server = TestServer::start().await;
    for role in Role::ALL {
        server.add(*role).await;
    }
    let member = server.add(Role::Member).await;
    let mut seen = Vec::new();
    let mut path = "/members?limit=2".to_owned();
    loop {
        let page = server.get(&member, &path).await.ok();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| item["email"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/members?limit=2&cursor={cursor}");
    }
    seen.sort();
    assert_eq!(seen.len(), 6, "{seen:?}");
    seen.dedup();
    assert_eq!(seen.len(), 6, "somebody is listed twice");
    server.only(Role::ALL, Method::GET, "/members", None).await;
}

#[tokio::test]
async fn a_role_is_changed_by_the_version_that_was_read() {
    let server = TestServer::start().await;
    let member = server.add(Role::Member).await;
    let body = json!({"role": "auditor", "version": 1});
    let changed = server.patch(&server.owner, &at(&member), body.clone()).await.ok();
    assert_eq!((&changed["role"], &changed["version"]), (&json!("auditor"), &json!(2)));
    // At once, also for tokens that they have.
    let group = json!({"name": "x", "users": []});
    server.post(&member, "/groups", group).await.refused(403, "denied");
    server.patch(&server.owner, &at(&member), body).await.stale(2);
    assert_eq!(server.audited("member.update").await, [format!("allowed member {}", member.user)]);
}

#[tokio::test]
async fn roles_are_changed_by_owners_and_admins_only() {
    let server = TestServer::start().await;
    let member = server.add(Role::Member).await;
    let body = json!({"role": "admin", "version": 1});
    server.only(&[Role::Owner, Role::Admin], Method::PATCH, &at(&member), Some(body.clone())).await;
    server.patch(&member, &at(&member), body.clone()).await.refused(403, "denied");
    server.patch(&server.owner, NOBODY, body.clone()).await.refused(404, "not_found");
    let outsider = server.outsider().await;
    server.patch(&server.owner, &at(&outsider), body).await.refused(404, "not_found");
    assert_eq!(version(&server, &member).await, 1);
}

#[tokio::test]
async fn ownership_is_given_and_taken_by_owners_only() {
    let server = TestServer::start().await;
    let admin = server.add(Role::Admin).await;
    let make_owner = json!({"role": "owner", "version": 1});
    server.patch(&admin, &at(&admin), make_owner.clone()).await.refused(403, "denied");
    let owner = at(&server.owner);
    let demote = json!({"role": "member", "version": 1});
    let refusal = server.patch(&admin, &owner, demote).await.refused(403, "denied");
    assert!(refusal["detail"].as_str().unwrap().contains("owner"), "{refusal}");
    server.delete(&admin, &owner).await.refused(403, "denied");
    server.patch(&server.owner, &at(&admin), make_owner).await.ok();
    server.delete(&admin, &owner).await.done();
}

#[tokio::test]
async fn an_organization_keeps_one_owner() {
    let server = TestServer::start().await;
    let owner = at(&server.owner);
    let demote = json!({"role": "admin", "version": 1});
    server.patch(&server.owner, &owner, demote.clone()).await.refused(409, "last_owner");
    server.delete(&server.owner, &owner).await.refused(409, "last_owner");
    assert_eq!(version(&server, &server.owner).await, 1);
    server.add(Role::Owner).await;
    server.patch(&server.owner, &owner, demote).await.ok();
}

#[tokio::test]
async fn of_two_owners_who_leave_at_once_one_stays() {
    let server = TestServer::start().await;
    let second = server.add(Role::Owner).await;
    let (first_path, second_path) = (at(&server.owner), at(&second));
    let (first, second) = tokio::join!(
        server.delete(&server.owner, &first_path),
        server.delete(&second, &second_path)
    );
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409], "{} {}", first.text, second.text);
}

#[tokio::test]
async fn whoever_leaves_loses_their_tokens_at_once() {
    let server = TestServer::start().await;
    let member = server.add(Role::Member).await;
    let group = json!({"name": "Team", "users": [member.id()]});
    let group = server.post(&server.owner, "/groups", group).await.created();
    server.delete(&member, &at(&member)).await.done();
    server.get(&member, "").await.refused(401, "unauthenticated");
    let groups = server.get(&server.owner, "/groups").await.ok();
    assert_eq!(groups["items"][0]["id"], group["id"]);
    assert_eq!(groups["items"][0]["users"], json!([]));
    server.delete(&server.owner, &at(&member)).await.refused(404, "not_found");
    assert_eq!(server.audited("member.delete").await, [format!("allowed member {}", member.user)]);
}

#[tokio::test]
async fn whoever_leaves_loses_what_their_session_saw() {
    let server = TestServer::start().await;
    let member = server.sign_in(Role::Member).await;
    server.get(&member, "/members").await.ok();
    server.delete(&server.owner, &at(&member)).await.done();
    server.get(&member, "/members").await.refused(404, "not_found");
    let me = server.get(&member, "/api/v1/user").await.ok();
    assert_eq!(me["memberships"], json!([]));
}

#[tokio::test]
async fn whoever_comes_back_has_none_of_their_old_tokens() {
    let server = TestServer::start().await;
    let member = server.sign_in(Role::Member).await;
    let token = server.token_of(&member).await;
    server.delete(&server.owner, &at(&member)).await.done();
    let body = json!({"email": member.email, "name": "X", "role": "member"});
    let made = server.post(&server.owner, "/members", body).await.created();
    server.get(&member, "/members").await.refused(404, "not_found");
    server.accept(acceptance(&made, PASSWORD)).await.created();
    server.get(&member, "/members").await.ok();
    server.get(&token, "/members").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn people_are_removed_by_owners_and_admins_and_leave_by_themselves() {
    let server = TestServer::start().await;
    let member = server.add(Role::Member).await;
    server.only(&[Role::Owner, Role::Admin], Method::DELETE, &at(&member), None).await;
    server.delete(&server.owner, NOBODY).await.refused(404, "not_found");
    server.delete(&server.owner, "/members/alice").await.invalid("/user");
    let outsider = server.outsider().await;
    server.delete(&server.owner, &at(&outsider)).await.refused(404, "not_found");
    let auditor = server.add(Role::Auditor).await;
    server.delete(&auditor, &at(&auditor)).await.done();
}

#[tokio::test]
async fn whoever_leaves_loses_what_they_hold_and_leaves_behind_what_others_need() {
    let server = TestServer::start().await;
    let member = server.add(Role::Member).await;
    let connection = |id: &str, users: Value| {
        json!({
            "name": id, "type": "generic", "connection_id": id, "scope": "custom", "users": users,
            "credential": {"kind": "values", "fields": {"token": "hunter2"}},
        })
    };
    let theirs = connection("theirs", json!([server.owner.id()]));
    server.post(&member, "/connections", theirs).await.created();
    let shared = connection("shared", json!([member.id()]));
    server.post(&server.owner, "/connections", shared).await.created();
    let body = json!({"connections": ["shared"], "label": "by hand"});
    let workload = server.post(&member, "/workloads", body).await.created();
    let token = workload["token"].as_str();
    let ask = json!({"connection_id": "shared", "operation": {"kind": "material"}});
    let lease = server.call(token, Method::POST, "/leases", Some(&ask)).await.created();

    server.delete(&server.owner, &at(&member)).await.done();
    server.call(token, Method::POST, "/leases", Some(&ask)).await.refused(401, "unauthenticated");
    let lease = format!("/leases/{}", lease["lease_id"].as_str().unwrap());
    let lease = server.get(&server.owner, &lease).await.ok();
    assert!(matches!(lease["state"].as_str(), Some("ending" | "ended")), "{lease}");
    let shared = server.get(&server.owner, "/connections/shared").await.ok();
    assert_eq!(shared["users"], json!([]), "{shared}");
    let theirs = server.get(&server.owner, "/connections/theirs").await.ok();
    assert_eq!(theirs["owner_id"], member.id(), "{theirs}");
}
