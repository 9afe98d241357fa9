//! Leases over HTTP: given to holders only, shown without their material, ended once.

use axum::http::Method;
use keyferry_domain::Role;
use keyferry_testkit::Canary;
use serde_json::{Value, json};

use crate::fixture::{Person, TestServer};
use crate::gitea::Gitea;
use crate::workloads::{start, values, workload};

const MISSING: &str = "/leases/lease_00000000000000000000000000";

fn ask(connection: &str) -> Value {
    json!({"connection_id": connection, "operation": {"kind": "material"}})
}

async fn issue(server: &TestServer, worker: &Person) -> Value {
    server.post(worker, "/leases", ask("values")).await.created()
}

#[tokio::test]
async fn issue_lease_hands_over_the_material_and_writes_no_secret_anywhere() {
    let server = TestServer::start().await;
    let canary = Canary::awkward("lease").unwrap();
    let mut body = values("values", "private");
    body["credential"]["fields"]["token"] = json!(canary.value());
    server.post(&server.owner, "/connections", body).await.created();
    let worker = workload(&server, &server.owner, &["values"]).await;
    let issued = issue(&server, &worker).await;
    assert_eq!(issued["material"]["values"]["token"], canary.value());
    assert_eq!(issued["narrowing"], json!({"kind": "stored"}));
    let path = format!("/leases/{}", issued["lease_id"].as_str().unwrap());
    for seen in ["/leases", &path, "/audit-events", "/connections/values/usage"] {
        canary.assert_absent_in(seen, server.get(&server.owner, seen).await.text);
    }
    canary.assert_absent_in_files(server.folder());
    let shown = server.get(&server.owner, &path).await.ok();
    assert_eq!((&shown["state"], &shown["credential_version"]), (&json!("active"), &json!(1)));
    assert_eq!(shown["holder"], json!({"kind": "workload", "workload": worker.email}));
}

#[tokio::test]
async fn asking_again_gives_the_same_lease_and_is_written_down_again() {
    let server = start().await;
    let worker = workload(&server, &server.owner, &["values"]).await;
    let first = issue(&server, &worker).await;
    assert_eq!(issue(&server, &worker).await["lease_id"], first["lease_id"]);
    assert_eq!(server.audited("lease.issue").await.len(), 2);
    let list = server.get(&server.owner, "/leases").await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_lease_with_less_than_a_minute_left_is_not_handed_over_again() {
    let server = start().await;
    let body = json!({"connections": ["values"], "label": "x", "lifetime_seconds": 86_400});
    let made = server.post(&server.owner, "/workloads", body).await.created();
    let token = made["token"].as_str().unwrap().to_owned();
    let worker = Person { token, ..server.owner.clone() };
    let first = issue(&server, &worker).await;
    server.advance(3_541);
    assert_ne!(issue(&server, &worker).await["lease_id"], first["lease_id"]);
}

#[tokio::test]
async fn issue_lease_is_for_holders_only() {
    let server = start().await;
    server.post(&server.owner, "/leases", ask("values")).await.refused(403, "not_a_holder");
    server
        .call(None, Method::POST, "/leases", Some(&ask("values")))
        .await
        .refused(401, "unauthenticated");
    for role in Role::ALL {
        let person = server.add(*role).await;
        server.post(&person, "/leases", ask("values")).await.refused(403, "not_a_holder");
    }
}

#[tokio::test]
async fn a_holder_gets_what_it_was_started_with_and_nothing_else() {
    let server = start().await;
    server.post(&server.owner, "/connections", values("other", "public")).await.created();
    let worker = workload(&server, &server.owner, &["values"]).await;
    server.post(&worker, "/leases", ask("other")).await.refused(403, "connection_not_bound");
    server.post(&worker, "/leases", ask("nothing")).await.refused(403, "connection_not_bound");
    let images = json!({
        "connection_id": "values",
        "operation": {"kind": "registry", "repository": null, "access": "read"},
    });
    let refused = server.post(&worker, "/leases", images).await;
    assert!(refused.status.is_client_error(), "{}", refused.text);
    let outsider = server.outsider().await;
    let path = format!("/api/v1/organizations/{}/leases", outsider.organization);
    server.post(&worker, &path, ask("values")).await.refused(404, "not_found");
    let refusals = server.audited("lease.issue").await;
    assert_eq!(refusals.iter().filter(|line| line.starts_with("refused")).count(), 3);
}

#[tokio::test]
async fn list_leases_filters_and_refuses_unknown_states() {
    let server = start().await;
    let worker = workload(&server, &server.owner, &["values"]).await;
    issue(&server, &worker).await;
    let count = async |query: &str| {
        let list = server.get(&server.owner, &format!("/leases{query}")).await.ok();
        list["items"].as_array().unwrap().len()
    };
    assert_eq!(count("?state=active").await, 1);
    assert_eq!(count("?state=ended").await, 0);
    assert_eq!(count("?connection_id=values").await, 1);
    assert_eq!(count("?connection_id=another").await, 0);
    assert_eq!(count(&format!("?holder_id={}", worker.email)).await, 1);
    server.get(&server.owner, "/leases?state=asleep").await.refused(400, "invalid_input");
    server.get(&server.owner, "/leases?limit=0").await.refused(400, "invalid_input");
    server.only(Role::ALL, Method::GET, "/leases", None).await;
}

#[tokio::test]
async fn a_lease_of_a_private_connection_is_hidden_from_other_members() {
    let server = TestServer::start().await;
    server.post(&server.owner, "/connections", values("values", "private")).await.created();
    let worker = workload(&server, &server.owner, &["values"]).await;
    let path = format!("/leases/{}", issue(&server, &worker).await["lease_id"].as_str().unwrap());
    let member = server.add(Role::Member).await;
    server.get(&member, &path).await.refused(404, "not_found");
    assert_eq!(server.get(&member, "/leases").await.ok()["items"], json!([]));
    server.get(&member, MISSING).await.refused(404, "not_found");
    server.only(&[Role::Owner, Role::Admin, Role::Auditor], Method::GET, &path, None).await;
}

#[tokio::test]
async fn end_lease_is_for_its_holder_and_those_who_look_after_the_connection() {
    let server = start().await;
    let worker = workload(&server, &server.owner, &["values"]).await;
    let other = workload(&server, &server.owner, &["values"]).await;
    let path = format!("/leases/{}", issue(&server, &worker).await["lease_id"].as_str().unwrap());
    let foreign = server.delete(&other, &path).await;
    assert!(foreign.status.is_client_error(), "{}", foreign.text);
    server.only(&[Role::Owner, Role::Admin], Method::DELETE, &path, None).await;
    server.delete(&worker, &path).await.done();
    server.delete(&server.owner, &path).await.done();
    let shown = server.get(&server.owner, &path).await.ok();
    assert_eq!((&shown["state"], &shown["end_reason"]), (&json!("ended"), &json!("revoked")));
    let next = issue(&server, &worker).await;
    assert!(!path.ends_with(next["lease_id"].as_str().unwrap()));
    server.delete(&server.owner, MISSING).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_reported_rejection_ends_the_lease_and_says_what_to_do() {
    let server = TestServer::start().await;
    let gitea = Gitea::start("the first password").await;
    let body = json!({
        "name": "The forge", "type": "gitea", "connection_id": "forge", "scope": "private",
        "settings": {"base_url": gitea.url()},
        "credential": {
            "kind": "username_password",
            "fields": {"username": "alice", "password": "the first password"},
        },
    });
    server.post(&server.owner, "/connections", body).await.created();
    let worker = workload(&server, &server.owner, &["forge"]).await;
    let git = json!({
        "connection_id": "forge",
        "operation": {"kind": "git", "repository": "team/app", "access": "read"},
    });
    let issued = server.post(&worker, "/leases", git).await.created();
    let path = format!("/leases/{}/rejection", issued["lease_id"].as_str().unwrap());
    // At once: that the credential was good a moment ago says nothing.
    gitea.set_password("alice", "another password");

    let other = workload(&server, &server.owner, &["forge"]).await;
    let foreign = server.call(Some(&other.token), Method::POST, &path, None).await;
    assert!(foreign.status.is_client_error(), "{}", foreign.text);
    server.call(None, Method::POST, &path, None).await.refused(401, "unauthenticated");
    let missing = format!("{MISSING}/rejection");
    server.call(Some(&worker.token), Method::POST, &missing, None).await.refused(404, "not_found");

    let found = server.call(Some(&worker.token), Method::POST, &path, None).await.ok();
    assert_eq!(found["health"]["status"], "rejected");
    let explanation = found["explanation"].as_str().unwrap();
    assert!(explanation.contains("keyferry connection reconfigure forge"), "{explanation}");
    assert!(!explanation.contains("password\""), "{explanation}");
    let shown = server.get(&server.owner, "/connections/forge").await.ok();
    assert_eq!(shown["health"]["status"], "rejected");
    let lease = path.trim_end_matches("/rejection");
    assert_eq!(server.get(&server.owner, lease).await.ok()["end_reason"], "rejected");
}
