//! Connections over HTTP: every operation, what it answers, and to whom it says no.

use axum::http::Method;
use keyferry_domain::Role;
use keyferry_testkit::Canary;
use serde_json::{Value, json};

use crate::fixture::{Person, TestServer, encoded};
use crate::gitea::Gitea;

const SECRET: &str = "secret-of-alice-7";
const ADMINS: &[Role] = &[Role::Owner, Role::Admin];
const READERS: &[Role] = &[Role::Owner, Role::Admin, Role::Auditor];
const MISSING: &str = "/connections/missing";

fn password(text: &str) -> Value {
    json!({"kind": "username_password", "fields": {"username": "alice", "password": text}})
}

fn new(id: &str, url: &str) -> Value {
    json!({
        "name": format!("The {id}"), "type": "gitea", "connection_id": id, "scope": "private",
        "settings": {"base_url": url}, "credential": password(SECRET),
    })
}

/// A server, a forge, and a private connection `forge` of the owner.
async fn start() -> (TestServer, Gitea) {
    let server = TestServer::start().await;
    let gitea = Gitea::start(SECRET).await;
    server.post(&server.owner, "/connections", new("forge", gitea.url())).await.created();
    (server, gitea)
}

async fn with_pipeline(server: &TestServer, gitea: &Gitea) {
    let yaml = format!(
        "name: Build\nsources:\n  app:\n    type: gitea\n    endpoint: {}/team/app.git\n    \
         branch: main\n    certificate: {{type: serviceConnection, serviceConnection: forge}}\n\
         stages:\n  build:\n    jobs:\n      build:\n        steps:\n          \
         run: {{step: Command, with: {{run: make}}}}\n",
        gitea.url()
    );
    let body = json!({"name": "Build", "yaml": yaml});
    server.post(&server.owner, "/pipelines", body).await.created();
}

async fn ids(server: &TestServer, who: &Person, query: &str) -> Vec<String> {
    let list = server.get(who, &format!("/connections{query}")).await.ok();
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["connection_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn create_connection_tries_stores_and_shows_no_secret() {
    let server = TestServer::start().await;
    let canary = Canary::awkward("connection").unwrap();
    let gitea = Gitea::start(canary.value()).await;
    let mut body = new("forge", gitea.url());
    body["credential"] = password(canary.value());
    let made = server.post(&server.owner, "/connections", body.clone()).await;
    canary.assert_absent_in("an answer", &made.text);
    let made = made.created();
    assert_eq!(made["health"]["status"], "healthy");
    assert_eq!((&made["type"], &made["version"]), (&json!("gitea"), &json!(1)));
    server.post(&server.owner, "/connections", body).await.refused(409, "connection_id_taken");
    canary.assert_absent_in_files(server.folder());
    canary.assert_absent_in(
        "the audit record",
        server.get(&server.owner, "/audit-events").await.text,
    );

    let wrong = server.post(&server.owner, "/connections", new("other", gitea.url())).await;
    wrong.refused(502, "credential_rejected");
    assert!(!wrong.text.contains(SECRET));
    let nowhere = new("other", "http://127.0.0.1:1");
    server.post(&server.owner, "/connections", nowhere).await.refused(502, "service_unavailable");
    // The cloud's own address, and a neighbour, are out of reach.
    for url in ["http://169.254.169.254", "http://192.168.0.1", "http://[::1]:1"] {
        let refused = server.post(&server.owner, "/connections", new("other", url)).await;
        assert!(refused.problem()["detail"].as_str().is_some(), "{url}");
    }
    assert_eq!(ids(&server, &server.owner, "").await, ["forge"]);
    let anyone = [Role::Owner, Role::Admin, Role::Member];
    let body = new("third", gitea.url());
    server.only(&anyone, Method::POST, "/connections", Some(body)).await;
}

#[tokio::test]
async fn create_connection_refuses_bad_input_field_by_field() {
    let (server, gitea) = start().await;
    let with = |name: &str, value: Value| {
        let mut body = new("other", gitea.url());
        body[name] = value;
        body
    };
    let other = server.add(Role::Member).await;
    for (body, pointer) in [
        (with("name", json!("")), "/name"),
        (with("type", json!("svn")), "/type"),
        (with("connection_id", json!("No ID")), "/connection_id"),
        (with("settings", json!({})), "/settings/base_url"),
        (with("settings", json!({"base_url": "http://u:p@h"})), "/settings/base_url"),
        (with("credential", Value::Null), "/credential"),
        (with("credential_id", json!("cred_00000000000000000000000000")), "/credential_id"),
        (with("scope", json!("custom")), "/users"),
        (with("users", json!([other.id()])), "/users"),
    ] {
        server.post(&server.owner, "/connections", body).await.invalid(pointer);
    }
    for body in [
        with("scope", json!("everyone")),
        with("password", json!("x")),
        with("settings", json!([])),
        with("credential", json!({"kind": "username_password", "password": "x"})),
        with("credential_id", json!("user_00000000000000000000000000")),
        json!([]),
    ] {
        server.post(&server.owner, "/connections", body).await.refused(400, "invalid_body");
    }
    let absent = {
        let mut body = with("credential_id", json!("cred_00000000000000000000000000"));
        body["credential"] = Value::Null;
        body
    };
    server.post(&server.owner, "/connections", absent).await.refused(404, "not_found");
}

#[tokio::test]
async fn list_connections_filters_pages_and_hides() {
    let (server, gitea) = start().await;
    let member = server.add(Role::Member).await;
    let mut public = new("public", gitea.url());
    public["scope"] = json!("public");
    server.post(&server.owner, "/connections", public).await.created();
    let mut untried = new("untried", gitea.url());
    untried["skip_verify"] = json!(true);
    server.post(&member, "/connections", untried).await.created();
    assert_eq!(ids(&server, &member, "").await, ["public", "untried"]);
    assert_eq!(ids(&server, &server.owner, "").await, ["forge", "public", "untried"]);
    assert_eq!(ids(&server, &server.owner, "?search=ORGE").await, ["forge"]);
    assert_eq!(ids(&server, &server.owner, "?search=%25").await, Vec::<String>::new());
    assert_eq!(ids(&server, &server.owner, "?health=unverified").await, ["untried"]);
    assert_eq!(ids(&server, &server.owner, "?type=Gitea&search=pub").await, ["public"]);
    assert_eq!(ids(&server, &server.owner, "?type=git").await, Vec::<String>::new());
    let first = server.get(&server.owner, "/connections?limit=2").await.ok();
    let cursor = first["next_cursor"].as_str().unwrap();
    let cursor = encoded(cursor);
    assert_eq!(ids(&server, &server.owner, &format!("?cursor={cursor}")).await, ["untried"]);
    server.get(&member, "/connections?type=svn").await.invalid("/type");
    server.get(&member, "/connections?limit=201").await.invalid("/limit");
    server.get(&member, "/connections?cursor=nonsense").await.invalid("/cursor");
    server.get(&member, "/connections?health=ill").await.refused(400, "invalid_query");
    server.only(Role::ALL, Method::GET, "/connections", None).await;
}

#[tokio::test]
async fn get_connection_is_for_its_scope() {
    let (server, _gitea) = start().await;
    let seen = server.get(&server.owner, "/connections/forge").await.ok();
    assert_eq!((&seen["users"], &seen["groups"]), (&json!([]), &json!([])));
    assert_eq!(seen["owner_id"], server.owner.id());
    server.get(&server.owner, MISSING).await.refused(404, "not_found");
    server.get(&server.owner, "/connections/NO").await.refused(400, "invalid_input");
    server.only(READERS, Method::GET, "/connections/forge", None).await;
    let outsider = server.outsider().await;
    let own = format!("/api/v1/organizations/{}/connections/forge", outsider.organization);
    server.get(&outsider, &own).await.refused(404, "not_found");
}

#[tokio::test]
async fn update_connection_changes_name_and_scope_of_the_version_that_was_read() {
    let (server, _gitea) = start().await;
    let member = server.add(Role::Member).await;
    let path = "/connections/forge";
    let body = json!({"name": "Renamed", "scope": "custom", "users": [member.id()], "version": 1});
    let changed = server.patch(&server.owner, path, body.clone()).await.ok();
    assert_eq!((&changed["users"], &changed["version"]), (&json!([member.id()]), &json!(2)));
    assert_eq!(server.get(&member, path).await.ok()["name"], "Renamed");
    server.patch(&server.owner, path, body).await.stale(2);
    // Whom it was opened to may use it, and may not open it to others.
    let public = json!({"scope": "public", "version": 2});
    server.patch(&member, path, public.clone()).await.refused(403, "denied");
    let admin = server.add(Role::Admin).await;
    server.patch(&admin, path, public.clone()).await.refused(403, "denied");
    for (body, pointer) in [
        (json!({"name": "a\u{7}b", "version": 2}), "/name"),
        (json!({"scope": "custom", "users": [], "version": 2}), "/users"),
        (json!({"users": ["user_00000000000000000000000000"], "version": 2}), "/users/0"),
    ] {
        server.patch(&server.owner, path, body).await.invalid(pointer);
    }
    let unknown = json!({"settings": {}, "version": 2});
    server.patch(&server.owner, path, unknown).await.refused(400, "invalid_body");
    server.patch(&server.owner, MISSING, public).await.refused(404, "not_found");
    let named = json!({"name": "Again", "version": 2});
    server.only(ADMINS, Method::PATCH, path, Some(named)).await;
    assert_eq!(server.audited("connection.update").await[0], "allowed connection forge");
}

#[tokio::test]
async fn delete_connection_says_what_uses_it() {
    let (server, gitea) = start().await;
    with_pipeline(&server, &gitea).await;
    let path = "/connections/forge";
    let refused = server.delete(&server.owner, path).await.refused(409, "connection_in_use");
    assert_eq!(refused["used_by"], json!(["Build"]));
    server.only(ADMINS, Method::DELETE, "/connections/forge?force=true", None).await;
    server.delete(&server.owner, "/connections/forge?force=si").await.refused(400, "invalid_query");
    server.delete(&server.owner, "/connections/forge?force=true").await.done();
    server.delete(&server.owner, path).await.refused(404, "not_found");
    server.get(&server.owner, path).await.refused(404, "not_found");
    let again = new("forge", gitea.url());
    server.post(&server.owner, "/connections", again).await.refused(409, "connection_id_taken");
}

#[tokio::test]
async fn verify_connection_tells_what_the_service_says() {
    let (server, gitea) = start().await;
    let path = "/connections/forge/verify";
    gitea.set_password("alice", "changed");
    let seen = server.post(&server.owner, path, Value::Null).await.ok();
    assert_eq!(seen["health"]["status"], "rejected");
    gitea.set_down(true);
    let seen = server.post(&server.owner, path, Value::Null).await.ok();
    assert_eq!(seen["health"]["status"], "unreachable");
    assert!(!seen.to_string().contains(SECRET));
    server
        .post(&server.owner, "/connections/missing/verify", Value::Null)
        .await
        .refused(404, "not_found");
    server.only(ADMINS, Method::POST, path, None).await;
}

#[tokio::test]
async fn reconfigure_connection_edits_no_pipeline_and_reconfigures_what_was_read() {
    let (server, gitea) = start().await;
    with_pipeline(&server, &gitea).await;
    let path = "/connections/forge/reconfigure";
    let body = |text: &str, version: i64| json!({"credential": password(text), "version": version});
    server.post(&server.owner, path, body("wrong", 1)).await.refused(502, "credential_rejected");
    gitea.set_password("alice", "changed-7");
    let done = server.post(&server.owner, path, body("changed-7", 1)).await.ok();
    assert_eq!((&done["used_by"], &done["pipelines_edited"]), (&json!(["Build"]), &json!(0)));
    assert_eq!(done["connection"]["version"], 2);
    assert_eq!(done["overlap_until"], "2026-01-01T00:15:00.000Z");
    assert!(!done.to_string().contains("changed-7"));
    server.post(&server.owner, path, body("changed-7", 1)).await.stale(2);
    for (body, pointer) in [
        (json!({"version": 2}), "/credential"),
        (
            json!({"credential": password("x"), "credential_id": done["connection"]["credential_id"], "version": 2}),
            "/credential_id",
        ),
        (
            json!({"credential": {"kind": "values", "fields": {"a": "b"}}, "version": 2}),
            "/credential/kind",
        ),
        (json!({"settings": {"base_url": "ftp://h"}, "version": 2}), "/settings/base_url"),
        (
            json!({"credential": password("changed-7"), "overlap_seconds": 86_401, "version": 2}),
            "/overlap_seconds",
        ),
    ] {
        server.post(&server.owner, path, body).await.invalid(pointer);
    }
    let unknown = json!({"password": "x", "version": 2});
    server.post(&server.owner, path, unknown).await.refused(400, "invalid_body");
    let missing = "/connections/missing/reconfigure";
    server.post(&server.owner, missing, body("x", 1)).await.refused(404, "not_found");
    server.only(ADMINS, Method::POST, path, Some(body("changed-7", 2))).await;
    // An admin keeps the owner's secret where it is.
    let admin = server.add(Role::Admin).await;
    let moved =
        json!({"settings": {"base_url": "http://127.0.0.1:1"}, "skip_verify": true, "version": 2});
    server.post(&admin, path, moved).await.refused(403, "denied");
}

#[tokio::test]
async fn roll_back_connection_works_while_there_is_a_version_before() {
    let (server, gitea) = start().await;
    let path = "/connections/forge/roll-back";
    let back = |version: i64| json!({"version": version});
    server.post(&server.owner, path, back(1)).await.refused(409, "no_previous_version");
    gitea.set_password("alice", "changed-7");
    let body = json!({"credential": password("changed-7"), "version": 1});
    server.post(&server.owner, "/connections/forge/reconfigure", body).await.ok();
    server.only(ADMINS, Method::POST, path, Some(back(2))).await;
    server.post(&server.owner, path, back(1)).await.stale(2);
    let done = server.post(&server.owner, path, back(2)).await.ok();
    assert_eq!(done["connection"]["health"]["status"], "rejected");
    server.post(&server.owner, path, json!({})).await.refused(400, "invalid_body");
    server
        .post(&server.owner, "/connections/missing/roll-back", back(1))
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn transfer_connection_is_for_orphans_and_ones_own() {
    let (server, gitea) = start().await;
    let leaver = server.add(Role::Member).await;
    let heir = server.add(Role::Member).await;
    let admin = server.add(Role::Admin).await;
    server.post(&leaver, "/connections", new("orphan", gitea.url())).await.created();
    let path = "/connections/orphan/transfer";
    let to = |who: &Person, version: i64| json!({"user_id": who.id(), "version": version});
    server.post(&admin, path, to(&admin, 1)).await.refused(403, "owner_is_member");
    server.delete(&server.owner, &format!("/members/{}", leaver.id())).await.done();
    server.only(ADMINS, Method::POST, path, Some(to(&heir, 1))).await;
    let outsider = server.outsider().await;
    server.post(&admin, path, to(&outsider, 1)).await.invalid("/user_id");
    server.post(&admin, path, to(&heir, 7)).await.stale(1);
    let given = server.post(&admin, path, to(&heir, 1)).await.ok();
    assert_eq!(given["owner_id"], heir.id());
    server
        .post(&admin, "/connections/missing/transfer", to(&heir, 1))
        .await
        .refused(404, "not_found");
    server
        .post(&admin, path, json!({"user_id": "x", "version": 1}))
        .await
        .refused(400, "invalid_body");
    server.post(&server.owner, "/connections/forge/transfer", to(&heir, 1)).await.ok();
}

#[tokio::test]
async fn transfer_connection_is_for_a_plain_member_who_owns_it_and_within_the_organization() {
    let (server, gitea) = start().await;
    let giver = server.add(Role::Member).await;
    let heir = server.add(Role::Member).await;
    let outsider = server.outsider().await;
    let to = |who: &Person, version: i64| json!({"user_id": who.id(), "version": version});
    let made = server.post(&giver, "/connections", new("mine", gitea.url())).await.created();
    let public = json!({"scope": "public", "version": 1});
    server.patch(&giver, "/connections/mine", public).await.ok();
    let path = "/connections/mine/transfer";
    // Whoever may use it may not give it away, nor may anyone who cannot even see another's.
    server.post(&heir, path, to(&heir, 2)).await.refused(403, "denied");
    let others = "/connections/forge/transfer";
    server.post(&giver, others, to(&giver, 1)).await.refused(404, "not_found");
    server.post(&giver, path, to(&outsider, 2)).await.invalid("/user_id");
    server.post(&giver, path, to(&giver, 1)).await.stale(2);
    let given = server.post(&giver, path, to(&heir, 2)).await.ok();
    assert_eq!(given["owner_id"], heir.id());
    let credential = format!("/credentials/{}", made["credential_id"].as_str().unwrap());
    assert_eq!(server.get(&heir, &credential).await.ok()["owner_id"], heir.id());
    server.get(&giver, &credential).await.refused(404, "not_found");
    // It is another's now.
    server.post(&giver, path, to(&giver, 3)).await.refused(403, "denied");
}

#[tokio::test]
async fn explain_connection_answers_about_anybody() {
    let (server, _gitea) = start().await;
    let path = "/connections/forge/explain";
    let yes = server.get(&server.owner, path).await.ok();
    assert_eq!(yes["allowed"], true);
    let admin = server.add(Role::Admin).await;
    let no = server.get(&server.owner, &format!("{path}?user_id={}", admin.id())).await.ok();
    assert_eq!(no["allowed"], false);
    assert_eq!(no["who_can_change_it"], json!(["the connection's owner"]));
    assert!(!no["reasons"].as_array().unwrap().is_empty());
    server.get(&server.owner, &format!("{path}?user_id=x")).await.refused(400, "invalid_query");
    server.get(&server.owner, "/connections/missing/explain").await.refused(404, "not_found");
    server.only(READERS, Method::GET, path, None).await;
}

#[tokio::test]
async fn get_connection_usage_lists_places_and_leases() {
    let (server, gitea) = start().await;
    with_pipeline(&server, &gitea).await;
    let path = "/connections/forge/usage";
    let workload = json!({"connections": ["forge"], "label": "test"});
    let workload = server.post(&server.owner, "/workloads", workload).await.created();
    let operation = json!({"kind": "git", "repository": "team/app", "access": "read"});
    let ask = json!({"connection_id": "forge", "operation": operation});
    let token = workload["token"].as_str();
    server.call(token, Method::POST, "/leases", Some(&ask)).await.created();
    let usage = server.get(&server.owner, path).await.ok();
    assert_eq!(usage["bindings"][0]["pipeline_name"], "Build");
    assert_eq!(usage["bindings"][0]["place"], "sources.app");
    assert_eq!(usage["live_leases"][0]["state"], "active");
    assert!(!usage.to_string().contains("minted-"), "a lease is shown without its material");
    server.get(&server.owner, "/connections/missing/usage").await.refused(404, "not_found");
    server.only(READERS, Method::GET, path, None).await;
}
