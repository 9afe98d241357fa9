//! A Gitea that serves a thousand repositories, and ones that misbehave as no real one does.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::Query;
use axum::http::{Method, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use keyferry_domain::operation::{Access, RepositoryPath};
use keyferry_providers::ProviderError;
use keyferry_providers::provider::{MergeRequest, MergeStrategy, Merged};
use serde_json::{Value, json};

use crate::stand_in::StandIn;
use crate::world::{Connection, context, context_within, git, password, token};

fn connection(url: &str) -> Connection {
    Connection::new("gitea", &[("base_url", url)], password("alice", "canary-7"))
}

/// A server with `total` repositories that serves at most `largest` a page.
fn many(total: usize, largest: usize) -> Router {
    let search = move |Query(query): Query<HashMap<String, String>>| async move {
        let number = |name: &str| query[name].parse::<usize>().unwrap();
        assert_eq!(query["uid"], "7");
        let size = number("limit").min(largest);
        let first = (number("page") - 1) * size;
        let found: Vec<Value> = (first..total.min(first + size))
            .map(|index| json!({"full_name": format!("team/r{index}")}))
            .collect();
        let mut headers = vec![("x-total-count", total.to_string())];
        if first + size < total {
            headers.push(("link", "<http://ignored/?page=2>; rel=\"next\"".to_owned()));
        }
        let headers: axum::http::HeaderMap = headers
            .into_iter()
            .map(|(name, text)| (name.parse().unwrap(), text.parse().unwrap()))
            .collect::<Vec<(axum::http::HeaderName, axum::http::HeaderValue)>>()
            .into_iter()
            .collect();
        (headers, Json(json!({"ok": true, "data": found})))
    };
    Router::new()
        .route("/api/v1/user", get(|| async { Json(json!({"id": 7, "login": "alice"})) }))
        .route("/api/v1/repos/search", get(search))
}

#[tokio::test]
async fn a_thousand_repositories_arrive_each_once() {
    // A server may be set to serve fewer than asked for.
    for (limit, largest) in [(50, 50), (200, 50), (50, 20), (13, 50)] {
        let server = StandIn::start(many(1_000, largest)).await;
        let connection = connection(&server.url());
        let repositories = connection.provider.repositories().unwrap();
        let mut seen = Vec::new();
        let mut page: Option<String> = None;
        loop {
            let found = repositories
                .list_repositories(&context(), connection.target(), None, page.as_deref(), limit)
                .await
                .unwrap();
            seen.extend(found.items.into_iter().map(|found| found.path.to_string()));
            page = found.next;
            if page.is_none() {
                break;
            }
        }
        let distinct: BTreeSet<_> = seen.iter().collect();
        assert_eq!((seen.len(), distinct.len()), (1_000, 1_000), "{limit} of {largest}");
    }
}

#[tokio::test]
async fn a_server_that_always_promises_another_page_comes_to_an_end() {
    let answer = |uri: Uri| async move {
        let body = if uri.path().ends_with("/user") {
            json!({"id": 7, "login": "alice"})
        } else {
            json!({"data": null})
        };
        ([("link", "<x>; rel=\"next\"")], Json(body))
    };
    let server = StandIn::start(Router::new().fallback(answer)).await;
    let connection = connection(&server.url());
    let repositories = connection.provider.repositories().unwrap();
    let found = repositories
        .list_repositories(&context(), connection.target(), None, None, 50)
        .await
        .unwrap();
    assert_eq!((found.items.len(), found.next), (0, None));

    // Deploy keys that never run out are looked through up to a limit.
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let answer = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Json(json!([{"id": 1, "title": "other"}])) }
    };
    let server = StandIn::start(Router::new().fallback(answer)).await;
    let mut connection = connection_with_token(&server.url());
    connection.settings.insert("ssh_known_hosts".to_owned(), "h ssh-ed25519 x".to_owned());
    let plan = connection.plan(&git(Some("team/app"), Access::Read), "lease_1");
    connection.revoke(&plan).await.unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), 200);
}

fn connection_with_token(url: &str) -> Connection {
    connection(url).with(token("canary-7"))
}

#[tokio::test]
async fn what_is_looked_for_at_the_wrong_user_is_not_taken_for_gone() {
    // Nobody here has a token, and an address is nobody's name: each deletion would be a 404.
    for (login, handle, credential, is_gone) in [
        ("alice", "alice", password("alice", "canary-7"), true),
        ("alice", "Alice", password("alice", "canary-7"), true),
        ("alice", "alice@example.com", password("alice@example.com", "canary-7"), true),
        ("alice", "alice", password("alice@example.com", "canary-7"), true),
        ("alice", "alice", token("canary-7"), true),
        ("bob", "alice", password("bob", "canary-7"), false),
        ("bob", "alice", password("bob@example.com", "canary-7"), false),
        ("bob", "alice", token("canary-7"), false),
        ("bob", "alice@example.com", password("bob", "canary-7"), false),
        ("alice", "alice@example.com", password("alice", "canary-7"), false),
        ("alice", "alice@example.com", token("canary-7"), false),
    ] {
        let user = move || async move { Json(json!({"id": 7, "login": login})) };
        let server = StandIn::start(
            Router::new()
                .route("/api/v1/user", get(user))
                .fallback(|| async { (StatusCode::NOT_FOUND, Json(json!({"message": "gone"}))) }),
        )
        .await;
        let connection = connection(&server.url()).with(credential);
        let mut plan = connection.with(password(handle, "x")).plan(&git(None, Access::Read), "l");
        plan.handle = Some(format!("token:{handle}:keyferry-l"));
        match connection.revoke(&plan).await {
            Ok(_) => assert!(is_gone, "{handle} by {login}"),
            Err(ProviderError::Rejected { .. }) => assert!(!is_gone, "{handle} by {login}"),
            Err(error) => panic!("{handle} by {login}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_mint_without_a_token_in_it_is_an_error() {
    for (status, body) in [
        (201, json!({"sha1": ""})),
        (201, json!({"id": 1})),
        (201, json!([])),
        (200, json!({"sha1": "x"})),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = move || {
            let body = body.clone();
            async move { (status, Json(body)) }
        };
        let server = StandIn::start(Router::new().fallback(answer)).await;
        let connection = connection(&server.url());
        let operation = git(None, Access::Read);
        let plan = connection.plan(&operation, "lease_1");
        let error = connection.issue(&operation, &plan).await.unwrap_err();
        assert!(matches!(error, ProviderError::Unexpected { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_repository_without_ssh_leaves_no_key() {
    let posts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&posts);
    let answer = move |method: Method| {
        if method == Method::POST {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        async { Json(json!({"full_name": "team/app", "ssh_url": ""})) }
    };
    let server = StandIn::start(Router::new().fallback(answer)).await;
    let mut connection = connection_with_token(&server.url());
    connection.settings.insert("ssh_known_hosts".to_owned(), "h ssh-ed25519 x".to_owned());
    let operation = git(Some("team/app"), Access::Read);
    let plan = connection.plan(&operation, "lease_1");
    let error = connection.issue(&operation, &plan).await.unwrap_err();
    assert!(
        matches!(&error, ProviderError::Misconfigured { field, .. } if field == "ssh_known_hosts"),
        "{error:?}"
    );
    assert_eq!(posts.load(Ordering::SeqCst), 0);
}

/// A server where the merge call answers `status` and the pull request is `merged` or not.
fn merging(status: u16, merged: bool, closed: Arc<AtomicUsize>) -> Router {
    let branch = |commit: &'static str| {
        get(move || async move { Json(json!({"name": "x", "commit": {"id": commit}})) })
    };
    let pull = json!({"number": 5, "mergeable": true, "merged": merged, "merge_commit_sha": "c3"});
    let made = pull.clone();
    Router::new()
        .route("/api/v1/repos/team/app/branches/from", branch("c1"))
        .route("/api/v1/repos/team/app/branches/into", branch("c2"))
        .route("/api/v1/repos/team/app/commits", get(|| async { Json(json!([{"sha": "c1"}])) }))
        .route(
            "/api/v1/repos/team/app/pulls",
            axum::routing::post(move || async move { (StatusCode::CREATED, Json(made)) }),
        )
        .route(
            "/api/v1/repos/team/app/pulls/5",
            get(move || async move { Json(pull) }).patch(move || async move {
                closed.fetch_add(1, Ordering::SeqCst);
                (StatusCode::CREATED, "{}").into_response()
            }),
        )
        .route(
            "/api/v1/repos/team/app/pulls/5/merge",
            axum::routing::post(move || async move {
                (StatusCode::from_u16(status).unwrap(), Json(json!({"message": ""})))
            }),
        )
}

#[tokio::test]
async fn a_merge_that_runs_out_of_time_still_closes_what_it_opened() {
    let closed = Arc::new(AtomicUsize::new(0));
    let stalling = axum::routing::post(|| async { std::future::pending::<StatusCode>().await });
    let path = "/api/v1/repos/team/app/pulls/5/merge";
    let router = merging(200, false, Arc::clone(&closed));
    // The outer router is asked first.
    let router = Router::new().route(path, stalling).fallback_service(router);
    let server = StandIn::start(router).await;
    let connection = connection(&server.url());
    let request = MergeRequest {
        from: "from".to_owned(),
        into: "into".to_owned(),
        strategy: MergeStrategy::Squash,
        message: None,
        expected_commit: Some("C1".to_owned()),
    };
    let path: RepositoryPath = "team/app".parse().unwrap();
    let context = context_within(Duration::from_millis(500));
    let repositories = connection.provider.repositories().unwrap();
    let error =
        repositories.merge(&context, connection.target(), &path, &request).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error:?}");
    assert_eq!(closed.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_merge_whose_answer_was_lost_is_looked_up() {
    let request = MergeRequest {
        from: "from".to_owned(),
        into: "into".to_owned(),
        strategy: MergeStrategy::Merge,
        message: None,
        expected_commit: None,
    };
    let path: RepositoryPath = "team/app".parse().unwrap();
    for (status, merged) in [(500, true), (500, false), (200, false), (405, false), (418, false)] {
        let closed = Arc::new(AtomicUsize::new(0));
        let server = StandIn::start(merging(status, merged, Arc::clone(&closed))).await;
        let connection = connection(&server.url());
        let repositories = connection.provider.repositories().unwrap();
        let result = repositories.merge(&context(), connection.target(), &path, &request).await;
        if merged {
            assert_eq!(result, Ok(Merged::Done { commit: "c3".to_owned() }));
            assert_eq!(closed.load(Ordering::SeqCst), 0);
        } else {
            result.unwrap_err();
            assert_eq!(closed.load(Ordering::SeqCst), 1, "HTTP {status}");
        }
    }
}
