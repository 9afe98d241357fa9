//! Connection types, which forms are drawn from.

use axum::http::Method;
use keyferry_domain::Role;
use serde_json::{Value, json};

use crate::fixture::TestServer;

const PATH: &str = "/api/v1/connection-types";

async fn types(server: &TestServer) -> Vec<Value> {
    let list = server.get(&server.owner, PATH).await.ok();
    list["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn every_type_is_listed_with_what_it_takes() {
    let server = TestServer::start().await;
    let types = types(&server).await;
    let ids: Vec<&str> = types.iter().map(|kind| kind["id"].as_str().unwrap()).collect();
    for id in ["git", "gitea", "private_docker_registry", "generic"] {
        assert!(ids.contains(&id), "{ids:?}");
    }
    let gitea = types.iter().find(|kind| kind["id"] == "gitea").unwrap();
    assert_eq!(gitea["can_verify"], true);
    assert!(gitea["capabilities"].as_array().unwrap().contains(&json!("list_repositories")));
    let base_url =
        gitea["settings"].as_array().unwrap().iter().find(|field| field["name"] == "base_url");
    let base_url = base_url.unwrap();
    assert_eq!((&base_url["format"], &base_url["required"]), (&json!("http_url"), &json!(true)));
}

#[tokio::test]
async fn settings_are_public_and_credentials_have_secrets() {
    let server = TestServer::start().await;
    for kind in types(&server).await {
        for field in kind["settings"].as_array().unwrap() {
            assert_eq!(field["secret"], false, "{kind}");
        }
        let forms = kind["credentials"].as_array().unwrap();
        assert!(!forms.is_empty(), "{kind}");
        for form in forms {
            let fields = form["fields"].as_array().unwrap();
            let has_secret = fields.iter().any(|field| field["secret"] == true);
            assert!(has_secret || form["kind"] == "values", "{form}");
        }
    }
}

#[tokio::test]
async fn they_are_shown_to_people_only() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    server.get(&outsider, PATH).await.ok();
    let auditor = server.add(Role::Auditor).await;
    server.get(&auditor, PATH).await.ok();
    server.call(None, Method::GET, PATH, None).await.refused(401, "unauthenticated");
    let runner = server.post(&server.owner, "/runners", json!({"name": "one"})).await.created();
    let token = runner["token"].as_str();
    server.call(token, Method::GET, PATH, None).await.refused(403, "not_a_person");
}
