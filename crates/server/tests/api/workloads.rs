//! Workloads over HTTP: started by those who may use the connections, ended with their leases.

use axum::http::Method;
use keyferry_domain::Role;
use serde_json::{Value, json};

use crate::fixture::{Person, TestServer};

const SECRET: &str = "secret-of-the-workload";
const WORKERS: &[Role] = &[Role::Owner, Role::Admin, Role::Member];
const MISSING: &str = "/workloads/work_00000000000000000000000000";

/// A server with a public connection `values`.
pub(crate) async fn start() -> TestServer {
    let server = TestServer::start().await;
    server.post(&server.owner, "/connections", values("values", "public")).await.created();
    server
}

pub(crate) fn values(id: &str, scope: &str) -> Value {
    json!({
        "name": format!("The {id}"), "type": "generic", "connection_id": id, "scope": scope,
        "credential": {"kind": "values", "fields": {"token": SECRET}},
    })
}

fn new(connections: &[&str]) -> Value {
    json!({"connections": connections, "label": "make"})
}

/// Starts a workload and returns it as somebody with a token.
pub(crate) async fn workload(server: &TestServer, who: &Person, connections: &[&str]) -> Person {
    let made = server.post(who, "/workloads", new(connections)).await.created();
    Person {
        email: made["id"].as_str().unwrap().to_owned(),
        token: made["token"].as_str().unwrap().to_owned(),
        ..who.clone()
    }
}

#[tokio::test]
async fn create_workload_gives_a_token_once_and_only_for_what_its_user_may_use() {
    let server = start().await;
    server.post(&server.owner, "/connections", values("mine", "private")).await.created();
    let member = server.add(Role::Member).await;
    let made = server.post(&member, "/workloads", new(&["values"])).await.created();
    assert!(made["token"].as_str().unwrap().starts_with("kf_work_"));
    assert_eq!(made["connections"][0]["connection_type"], "generic");
    let missing = server.post(&member, "/workloads", new(&["values", "nothing"])).await;
    let private = server.post(&member, "/workloads", new(&["values", "mine"])).await;
    private.refused(404, "not_found");
    missing.refused(404, "not_found");
    server.only(WORKERS, Method::POST, "/workloads", Some(new(&["values"]))).await;
}

#[tokio::test]
async fn a_workload_ends_no_later_than_the_token_that_started_it() {
    let server = start().await;
    let member = server.sign_in(Role::Member).await;
    let body = json!({"name": "short", "expires_in_days": 1});
    let token = server.post(&member, "/tokens", body).await.created();
    let token = token["token"].as_str().unwrap().to_owned();
    let short = Person { token, ..member.clone() };
    let ask = json!({"connections": ["values"], "label": "make", "lifetime_seconds": 86_400});
    let end = |made: Value| made["expires_at"].as_str().unwrap().to_owned();
    let all_day = server.post(&short, "/workloads", ask.clone()).await.created();
    assert_eq!(end(all_day), "2026-01-02T00:00:00.000Z");
    server.advance(6 * 60 * 60);
    let cut = server.post(&short, "/workloads", ask.clone()).await.created();
    assert_eq!(end(cut), "2026-01-02T00:00:00.000Z");
    // A session is no token: what it starts has the time that was asked for.
    let whole = server.post(&member, "/workloads", ask).await.created();
    assert_eq!(end(whole), "2026-01-02T06:00:00.000Z");
    let hour = server.post(&short, "/workloads", new(&["values"])).await.created();
    assert_eq!(end(hour), "2026-01-01T07:00:00.000Z");
}

#[tokio::test]
async fn create_workload_refuses_what_makes_no_sense() {
    let server = start().await;
    let many: Vec<&str> = vec!["values"; 33];
    for (body, pointer) in [
        (new(&[]), "/connections"),
        (new(&many), "/connections"),
        (json!({"connections": ["values"], "label": " "}), "/label"),
        (
            json!({"connections": ["values"], "label": "x", "lifetime_seconds": 59}),
            "/lifetime_seconds",
        ),
        (
            json!({"connections": ["values"], "label": "x", "lifetime_seconds": 86_401}),
            "/lifetime_seconds",
        ),
    ] {
        let problem =
            server.post(&server.owner, "/workloads", body).await.refused(400, "invalid_input");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    let unreadable = json!({"connections": ["A B"], "label": "x"});
    server.post(&server.owner, "/workloads", unreadable).await.refused(400, "invalid_body");
}

#[tokio::test]
async fn a_workload_can_do_nothing_but_lease() {
    let server = start().await;
    let worker = workload(&server, &server.owner, &["values"]).await;
    for rest in ["", "/connections", "/connections/values", "/leases", "/members", "/audit-events"]
    {
        let answer = server.get(&worker, rest).await;
        assert!(answer.status.is_client_error(), "{}: {}", answer.what, answer.text);
        assert!(!answer.text.contains(SECRET));
    }
    let more = server.post(&worker, "/workloads", new(&["values"])).await;
    assert!(more.status.is_client_error());
}

#[tokio::test]
async fn end_workload_ends_its_token_and_its_leases_and_may_be_said_twice() {
    let server = start().await;
    let worker = workload(&server, &server.owner, &["values"]).await;
    let ask = json!({"connection_id": "values", "operation": {"kind": "material"}});
    let lease = server.post(&worker, "/leases", ask.clone()).await.created();
    let path = format!("/workloads/{}", worker.email);
    server.only(&[Role::Owner, Role::Admin], Method::DELETE, &path, None).await;
    server.delete(&server.owner, &path).await.done();
    server.delete(&server.owner, &path).await.done();
    server.post(&worker, "/leases", ask).await.refused(401, "unauthenticated");
    let lease = format!("/leases/{}", lease["lease_id"].as_str().unwrap());
    assert_eq!(server.get(&server.owner, &lease).await.ok()["end_reason"], "holder_ended");
    assert_eq!(server.audited("workload.end").await.len(), 1 + refusals(&server).await);
    server.delete(&server.owner, MISSING).await.refused(404, "not_found");
}

async fn refusals(server: &TestServer) -> usize {
    let all = server.audited("workload.end").await;
    all.iter().filter(|line| line.starts_with("refused")).count()
}

#[tokio::test]
async fn a_workload_ends_itself_and_no_other() {
    let server = start().await;
    let own = workload(&server, &server.owner, &["values"]).await;
    let other = workload(&server, &server.owner, &["values"]).await;
    let of_other = format!("/workloads/{}", other.email);
    let answer = server.delete(&own, &of_other).await;
    assert!(answer.status.is_client_error(), "{}", answer.text);
    server.delete(&own, &format!("/workloads/{}", own.email)).await.done();
}

#[tokio::test]
async fn a_workload_whose_time_is_up_is_over() {
    let server = start().await;
    let worker = workload(&server, &server.owner, &["values"]).await;
    server.advance(3_600);
    let ask = json!({"connection_id": "values", "operation": {"kind": "material"}});
    server.post(&worker, "/leases", ask).await.refused(401, "unauthenticated");
    server.broker.sweep_workloads(&server.broker.system_actor()).await.unwrap();
    assert_eq!(
        server.audited("workload.end").await,
        [format!("allowed workload {}", worker.email)]
    );
}

#[tokio::test]
async fn a_user_who_may_use_a_connection_no_more_takes_it_from_their_workloads() {
    let server = start().await;
    let member = server.add(Role::Member).await;
    let worker = workload(&server, &member, &["values"]).await;
    let ask = json!({"connection_id": "values", "operation": {"kind": "material"}});
    server.post(&worker, "/leases", ask.clone()).await.created();
    let change = json!({"scope": "private", "version": 1});
    server.patch(&server.owner, "/connections/values", change).await.ok();
    server.post(&worker, "/leases", ask).await.refused(403, "connection_out_of_scope");
    server.delete(&server.owner, &format!("/members/{}", member.id())).await.done();
    let ask = json!({"connection_id": "values", "operation": {"kind": "material"}});
    server.post(&worker, "/leases", ask).await.refused(401, "unauthenticated");
}
