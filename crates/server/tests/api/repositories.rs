//! Repositories, branches and tags over HTTP: seen and changed by those in a connection's scope.

use axum::http::Method;
use keyferry_domain::Role;
use serde_json::{Value, json};

use crate::fixture::TestServer;
use crate::gitea::Gitea;

const SECRET: &str = "secret-of-alice-7";

/// Those who look after connections do not use them; only the owner of this one does.
const OWNER: &[Role] = &[Role::Owner];

/// A server, a forge, and a private connection `forge` of the owner.
async fn start() -> (TestServer, Gitea) {
    let server = TestServer::start().await;
    let gitea = Gitea::start(SECRET).await;
    let body = json!({
        "name": "Forge", "type": "gitea", "connection_id": "forge", "scope": "private",
        "settings": {"base_url": gitea.url()},
        "credential": {
            "kind": "username_password", "fields": {"username": "alice", "password": SECRET},
        },
    });
    server.post(&server.owner, "/connections", body).await.created();
    (server, gitea)
}

/// Refuses the same to all owners but the one of the connection: an owner of the organization
/// does not use another person's connection either.
async fn only_its_owner(server: &TestServer, method: Method, rest: &str, body: Option<Value>) {
    let other = server.add(Role::Owner).await;
    server
        .call(Some(&other.token), method.clone(), rest, body.as_ref())
        .await
        .refused(403, "denied");
    server.only(OWNER, method, rest, body).await;
}

#[tokio::test]
async fn list_repositories_shows_what_the_forge_shows() {
    let (server, gitea) = start().await;
    let path = "/connections/forge/repositories";
    let list = server.get(&server.owner, path).await.ok();
    assert_eq!(list["items"][0]["path"], "team/app");
    assert_eq!(list["items"][0]["default_branch"], "main");
    server.get(&server.owner, &format!("{path}?limit=0")).await.invalid("/limit");
    server
        .get(&server.owner, &format!("{path}?cursor=nonsense"))
        .await
        .refused(400, "misconfigured");
    server.get(&server.owner, "/connections/missing/repositories").await.refused(404, "not_found");
    only_its_owner(&server, Method::GET, path, None).await;
    gitea.set_down(true);
    server.get(&server.owner, path).await.refused(502, "service_unavailable");
    gitea.set_down(false);
    gitea.set_password("alice", "changed");
    let refused = server.get(&server.owner, path).await;
    refused.refused(502, "credential_rejected");
    assert!(!refused.text.contains(SECRET));
    let seen = server.get(&server.owner, "/connections/forge").await.ok();
    assert_eq!(seen["health"]["status"], "rejected");
}

#[tokio::test]
async fn list_branches_marks_default_and_protected_ones() {
    let (server, _gitea) = start().await;
    let path = "/connections/forge/branches?repository=team/app";
    let list = server.get(&server.owner, path).await.ok();
    let main =
        list["items"].as_array().unwrap().iter().find(|item| item["name"] == "main").unwrap();
    assert_eq!((&main["default"], &main["protected"]), (&json!(true), &json!(true)));
    let found = server.get(&server.owner, &format!("{path}&search=login")).await.ok();
    assert_eq!(found["items"][0]["name"], "feature/login");
    let gone = "/connections/forge/branches?repository=team/gone";
    server.get(&server.owner, gone).await.refused(404, "not_found_at_service");
    for rest in ["?repository=../x", "?repository="] {
        let path = format!("/connections/forge/branches{rest}");
        server.get(&server.owner, &path).await.invalid("/repository");
    }
    server.get(&server.owner, "/connections/forge/branches").await.refused(400, "invalid_query");
    only_its_owner(&server, Method::GET, path, None).await;
}

#[tokio::test]
async fn delete_branch_deletes_one_branch() {
    let (server, gitea) = start().await;
    let path = "/connections/forge/branches?repository=team/app&branch=feature/login";
    only_its_owner(&server, Method::DELETE, path, None).await;
    assert_eq!(gitea.branches().len(), 2);
    let odd = "/connections/forge/branches?repository=team/app&branch=../main";
    server.delete(&server.owner, odd).await.invalid("/branch");
    let short = format!("{path}&expected_commit=abc");
    server.delete(&server.owner, &short).await.invalid("/expected_commit");
    server.delete(&server.owner, path).await.done();
    assert_eq!(gitea.branches(), ["main"]);
    server.delete(&server.owner, path).await.refused(404, "not_found_at_service");
    let missing = path.replace("forge", "missing");
    server.delete(&server.owner, &missing).await.refused(404, "not_found");
    let audited = server.audited("branch.delete").await;
    assert!(audited.contains(&"allowed connection forge".to_owned()), "{audited:?}");
    assert!(audited.contains(&"failed connection forge".to_owned()), "{audited:?}");
}

#[tokio::test]
async fn merge_branch_checks_before_it_asks_and_tells_the_commit() {
    let (server, gitea) = start().await;
    let path = "/connections/forge/merges";
    let body = json!({"repository": "team/app", "from": "feature/login", "into": "main"});
    let with = |name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        body
    };
    let calls = gitea.calls();
    only_its_owner(&server, Method::POST, path, Some(body.clone())).await;
    for (body, pointer) in [
        (with("repository", json!("-x")), "/repository"),
        (with("from", json!("a b")), "/from"),
        (with("into", json!("")), "/into"),
        (with("expected_commit", json!("HEAD")), "/expected_commit"),
        (with("message", json!("a\u{0}b")), "/message"),
    ] {
        server.post(&server.owner, path, body).await.invalid(pointer);
    }
    for body in [with("strategy", json!("rebase")), with("extra", json!(1)), json!({})] {
        server.post(&server.owner, path, body).await.refused(400, "invalid_body");
    }
    assert_eq!(gitea.calls(), calls, "the forge was asked for nobody");
    let moved = with("expected_commit", json!("f".repeat(40)));
    server.post(&server.owner, path, moved).await.refused(409, "branch_moved");
    let done = server.post(&server.owner, path, body.clone()).await.ok();
    assert_eq!(done, json!({"commit": "d".repeat(40)}));
    assert_eq!(server.post(&server.owner, path, body.clone()).await.ok(), json!({}));
    let gone = with("repository", json!("team/gone"));
    server.post(&server.owner, path, gone).await.refused(404, "not_found_at_service");
    server.post(&server.owner, "/connections/missing/merges", body).await.refused(404, "not_found");
}

#[tokio::test]
async fn delete_tag_deletes_one_tag() {
    let (server, _gitea) = start().await;
    let path = "/connections/forge/tags?repository=team/app&tag=v1.0";
    only_its_owner(&server, Method::DELETE, path, None).await;
    server.delete(&server.owner, path).await.done();
    server.delete(&server.owner, path).await.refused(404, "not_found_at_service");
    let odd = "/connections/forge/tags?repository=team/app&tag=-d";
    server.delete(&server.owner, odd).await.invalid("/tag");
    server
        .delete(&server.owner, "/connections/forge/tags?tag=v1")
        .await
        .refused(400, "invalid_query");
    let missing = path.replace("forge", "missing");
    server.delete(&server.owner, &missing).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_type_without_repositories_says_so() {
    let server = TestServer::start().await;
    let body = json!({
        "name": "Values", "type": "generic", "connection_id": "values", "scope": "private",
        "credential": {"kind": "values", "fields": {"key": "x"}},
    });
    server.post(&server.owner, "/connections", body).await.created();
    server.get(&server.owner, "/connections/values/repositories").await.refused(400, "unsupported");
    let path = "/connections/values/branches?repository=team/app";
    server.get(&server.owner, path).await.refused(400, "unsupported");
}
