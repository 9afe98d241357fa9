//! Pipelines and their bindings over HTTP.

use axum::http::Method;
use keyferry_domain::Role;
use serde_json::{Value, json};

use crate::fixture::{Person, TestServer};

/// One job without connections.
pub(crate) const PLAIN: &str = "\
stages:
  build:
    jobs:
      compile:
        steps:
          compile: {step: Command, with: {run: make}}
";

/// One job that uses the connection in a script.
pub(crate) fn using(id: &str) -> String {
    PLAIN.replace("{run: make}", &format!("{{connections: {{forge: {id}}}, run: make}}"))
}

/// Makes a private connection that is never called.
pub(crate) async fn connection(server: &TestServer, who: &Person, id: &str) {
    let body = json!({
        "name": format!("The {id}"),
        "type": "git",
        "connection_id": id,
        "settings": {"url": "https://git.example.com"},
        "credential": {
            "kind": "username_password",
            "fields": {"username": "alice", "password": "hunter2-hunter2"},
        },
        "scope": "private",
        "skip_verify": true,
    });
    server.post(who, "/connections", body).await.created();
}

/// Creates a pipeline; returns its view.
pub(crate) async fn pipeline(server: &TestServer, who: &Person, name: &str, yaml: &str) -> Value {
    server.post(who, "/pipelines", json!({"name": name, "yaml": yaml})).await.created()
}

fn at(pipeline: &Value) -> String {
    format!("/pipelines/{}", pipeline["id"].as_str().unwrap())
}

const NONE: &str = "/pipelines/pipe_00000000000000000000000000";

#[tokio::test]
async fn a_pipeline_is_created_read_changed_and_deleted() {
    let server = TestServer::start().await;
    let owner = &server.owner;
    let made = pipeline(&server, owner, "Build", PLAIN).await;
    assert_eq!(made["name"], "Build");
    assert_eq!(made["owner_id"], owner.id());
    assert_eq!(made["revision"]["number"], 1);
    assert_eq!(made["revision"]["yaml"], PLAIN);
    assert_eq!(made["revision"]["author_id"], owner.id());
    assert_eq!((&made["version"], &made["bindings"]), (&json!(1), &json!([])));
    assert_eq!(server.get(owner, &at(&made)).await.ok(), made);

    let text = PLAIN.replace("make", "make all");
    let body = json!({"name": "Build all", "yaml": text, "version": 1});
    let saved = server.patch(owner, &at(&made), body).await.ok();
    assert_eq!((&saved["name"], &saved["version"]), (&json!("Build all"), &json!(2)));
    assert_eq!(saved["revision"]["number"], 2);
    let first = server.get(owner, &format!("{}/revisions/1", at(&made))).await.ok();
    assert_eq!(first["yaml"], PLAIN);

    let list = server.get(owner, "/pipelines?search=ALL").await.ok();
    assert_eq!(list["items"][0]["revision"], 2);
    assert_eq!(server.get(owner, "/pipelines?search=none").await.ok()["items"], json!([]));

    server.delete(owner, &at(&made)).await.done();
    server.get(owner, &at(&made)).await.refused(404, "not_found");
    server.delete(owner, &at(&made)).await.refused(404, "not_found");
    for action in ["pipeline.create", "pipeline.update", "pipeline.delete"] {
        let lines = server.audited(action).await;
        assert_eq!(lines, [format!("allowed pipeline {}", made["id"].as_str().unwrap())]);
    }
}

#[tokio::test]
async fn mistakes_are_told_with_their_places_and_nothing_is_saved() {
    let server = TestServer::start().await;
    let owner = &server.owner;
    connection(&server, owner, "forge").await;
    let wrong = using("froge").replace("steps:", "stepz:");
    let problem = server.post(owner, "/pipelines", json!({"name": "Build", "yaml": wrong})).await;
    let problem = problem.refused(400, "pipeline_invalid");
    assert_eq!(problem["errors"][0]["pointer"], "/yaml");
    assert!(problem["errors"][0]["message"].as_str().unwrap().starts_with("line 5, column 9: "));

    let checked = server.post(owner, "/pipelines/check", json!({"yaml": wrong})).await.ok();
    assert_eq!(
        (&checked["diagnostics"][0]["line"], &checked["diagnostics"][0]["column"]),
        (&json!(5), &json!(9))
    );
    let near = json!({"yaml": using("froge")});
    let checked = server.post(owner, "/pipelines/check", near).await.ok();
    assert!(checked["diagnostics"][0]["hint"].as_str().unwrap().contains("`forge`"));
    let fine = server.post(owner, "/pipelines/check", json!({"yaml": using("forge")})).await.ok();
    assert_eq!(fine, json!({"diagnostics": []}));

    let long = format!("{PLAIN}#{}", "x".repeat(256 * 1024));
    for path in ["/pipelines", "/pipelines/check"] {
        let mut body = json!({"yaml": long});
        if path == "/pipelines" {
            body["name"] = json!("Long");
        }
        server.post(owner, path, body).await.invalid("/yaml");
    }
    let body = json!({"name": " ", "yaml": PLAIN});
    server.post(owner, "/pipelines", body).await.invalid("/name");
    assert_eq!(server.get(owner, "/pipelines").await.ok()["items"], json!([]));
    pipeline(&server, owner, "Build", PLAIN).await;
    let body = json!({"name": "BUILD", "yaml": PLAIN});
    server.post(owner, "/pipelines", body).await.refused(409, "already_exists");
}

#[tokio::test]
async fn changes_need_something_to_change_and_the_present_version() {
    let server = TestServer::start().await;
    let owner = &server.owner;
    let made = pipeline(&server, owner, "Build", PLAIN).await;
    let change = async |body: Value| server.patch(owner, &at(&made), body).await;
    change(json!({"version": 1})).await.refused(400, "nothing_to_change");
    change(json!({"name": "x"})).await.refused(400, "invalid_body");
    change(json!({"name": "x", "version": 1, "owner": "me"})).await.refused(400, "invalid_body");
    change(json!({"name": "", "version": 1})).await.invalid("/name");
    change(json!({"yaml": "stages: [", "version": 1})).await.refused(400, "pipeline_invalid");
    change(json!({"name": "Other", "version": 1})).await.ok();
    for version in [0, 1, 3] {
        change(json!({"name": "Late", "version": version})).await.stale(2);
        change(json!({"yaml": PLAIN, "version": version})).await.stale(2);
    }
    server.patch(owner, NONE, json!({"name": "x", "version": 1})).await.refused(404, "not_found");
    server.get(owner, NONE).await.refused(404, "not_found");
    server.get(owner, "/pipelines/run_00000000000000000000000000").await.invalid("/pipeline");
    server.get(owner, &format!("{}/revisions/2", at(&made))).await.refused(404, "not_found");
    server.get(owner, &format!("{}/revisions/x", at(&made))).await.invalid("/number");
    server.get(owner, "/pipelines?limit=0").await.invalid("/limit");
    server.get(owner, "/pipelines?cursor=x").await.invalid("/cursor");
    server.get(owner, "/pipelines?owner=me").await.refused(400, "invalid_query");
}

#[tokio::test]
async fn each_operation_is_for_those_only_whom_the_policies_name() {
    let server = TestServer::start().await;
    let made = pipeline(&server, &server.owner, "Build", PLAIN).await;
    let create = json!({"name": "New", "yaml": PLAIN});
    let (see, change) = (&[Role::Owner, Role::Admin, Role::Auditor], &[Role::Owner, Role::Admin]);
    let make = &[Role::Owner, Role::Admin, Role::Member];
    server.only(make, Method::POST, "/pipelines", Some(create)).await;
    let all = &[Role::Owner, Role::Admin, Role::Member, Role::Auditor];
    server.only(all, Method::GET, "/pipelines", None).await;
    server.only(all, Method::POST, "/pipelines/check", Some(json!({"yaml": PLAIN}))).await;
    server.only(see, Method::GET, &at(&made), None).await;
    server.only(see, Method::GET, &format!("{}/revisions/1", at(&made)), None).await;
    let rename = json!({"name": "New", "version": 1});
    server.only(change, Method::PATCH, &at(&made), Some(rename)).await;
    server.only(change, Method::DELETE, &at(&made), None).await;
    assert_eq!(server.get(&server.owner, &at(&made)).await.ok(), made);
}

#[tokio::test]
async fn a_place_is_approved_by_someone_who_may_use_its_connection_and_taken_back() {
    let server = TestServer::start().await;
    let (holder, author) = (server.add(Role::Member).await, server.add(Role::Member).await);
    connection(&server, &holder, "forge").await;
    let made = pipeline(&server, &author, "Build", &using("forge")).await;
    let binding = &made["bindings"][0];
    assert_eq!(binding["place"], "stages.build.jobs.compile");
    assert_eq!(
        (&binding["state"], &binding["connection_id"]),
        (&json!("needs_approval"), &json!("forge"))
    );
    assert_eq!(
        (&binding["pipeline_name"], &binding["approved_by"]),
        (&json!("Build"), &Value::Null)
    );
    let path = format!("/bindings/{}", binding["id"].as_str().unwrap());
    let approve = format!("{path}/approve");

    let problem = server.post(&author, &approve, json!({"revision": 1})).await;
    let problem = problem.refused(403, "denied");
    assert!(problem["hint"].as_str().unwrap().contains("owner"));
    server.only(&[], Method::POST, &approve, Some(json!({"revision": 1}))).await;
    server.post(&holder, &approve, json!({})).await.refused(400, "invalid_body");
    server.post(&holder, &approve, json!({"revision": 2})).await.refused(409, "stale_revision");
    let none = "/bindings/bind_00000000000000000000000000";
    let body = json!({"revision": 1});
    server.post(&holder, &format!("{none}/approve"), body).await.refused(404, "not_found");
    server.delete(&holder, none).await.refused(404, "not_found");

    let approved = server.post(&holder, &approve, json!({"revision": 1})).await.ok();
    assert_eq!(
        (&approved["state"], &approved["approved_by"]),
        (&json!("approved"), &json!(holder.id()))
    );
    server.only(&[Role::Owner, Role::Admin], Method::DELETE, &path, None).await;
    server.delete(&author, &path).await.done();
    let now = server.get(&author, &at(&made)).await.ok();
    assert_eq!(now["bindings"][0]["state"], "revoked");
}
