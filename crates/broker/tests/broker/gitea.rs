//! A stand-in of Gitea on loopback: it knows its users and the tokens it has made, and it can be
//! slow, down, or die after a mint. What a real Gitea answers is checked in `providers`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A Gitea, gone when dropped.
pub(crate) struct Gitea {
    url: String,
    world: Arc<World>,
    server: JoinHandle<()>,
}

struct World {
    inner: Mutex<Inner>,
    /// While it is true, no mint is answered, although the token is made.
    holds: watch::Sender<bool>,
    /// While it is true, no mint gets as far as a token.
    holds_mints: watch::Sender<bool>,
    /// While it is true, no deletion of a token is answered or done.
    holds_deletions: watch::Sender<bool>,
}

#[derive(Default)]
struct Inner {
    /// Passwords by user.
    users: BTreeMap<String, String>,
    /// Live tokens: user, name, text, scopes.
    tokens: Vec<(String, String, String, Vec<String>)>,
    branches: BTreeSet<String>,
    tags: BTreeSet<String>,
    is_merged: bool,
    minted: usize,
    is_down: bool,
    /// Mints fail to be answered, and the tokens come to life later.
    is_late: bool,
    late: Vec<(String, String, String, Vec<String>)>,
    /// Every secret that was ever sent here.
    seen: BTreeSet<String>,
    calls: Vec<String>,
}

impl World {
    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns who the caller is, or the refusal.
    #[expect(clippy::result_large_err, reason = "the refusal is the answer, sent as it is")]
    fn caller(&self, what: String, headers: &HeaderMap) -> Result<String, Response> {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (name, secret) = match header.and_then(|value| value.split_once(' ')) {
            Some(("Basic", pair)) => {
                let text = String::from_utf8(STANDARD.decode(pair).unwrap()).unwrap();
                let (name, secret) = text.split_once(':').unwrap();
                (Some(name.to_owned()), secret.to_owned())
            }
            Some(("Bearer" | "token", token)) => (None, token.to_owned()),
            _ => (None, String::new()),
        };
        self.with(|inner| {
            inner.calls.push(what);
            inner.seen.insert(secret.clone());
            if inner.is_down {
                let body = Json(json!({"message": "maintenance"}));
                return Err((StatusCode::SERVICE_UNAVAILABLE, body).into_response());
            }
            let by_token = inner.tokens.iter().find(|token| token.2 == secret);
            let caller = match name {
                Some(name) if inner.users.get(&name) == Some(&secret) => Some(name),
                Some(name) => by_token.filter(|token| token.0 == name).map(|token| token.0.clone()),
                None => by_token.map(|token| token.0.clone()),
            };
            caller.ok_or_else(|| {
                let body = Json(json!({"message": "user does not exist or password is wrong"}));
                (StatusCode::UNAUTHORIZED, body).into_response()
            })
        })
    }
}

impl Gitea {
    /// Starts one with the user `alice` and the repository `team/app`.
    pub(crate) async fn start(password: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Inner {
            users: BTreeMap::from([("alice".to_owned(), password.to_owned())]),
            branches: ["main", "feature/login"].map(str::to_owned).into(),
            tags: ["v1.0"].map(str::to_owned).into(),
            ..Inner::default()
        };
        let [holds, holds_mints, holds_deletions] = [(); 3].map(|()| watch::Sender::new(false));
        let inner = Mutex::new(inner);
        let world = Arc::new(World { inner, holds, holds_mints, holds_deletions });
        let router = Router::new()
            .route("/api/v1/user", get(user))
            .route("/api/v1/users/{user}/tokens", post(mint))
            .route("/api/v1/users/{user}/tokens/{name}", delete(delete_token))
            .route("/api/v1/repos/search", get(search))
            .route("/api/v1/repos/team/app", get(repository))
            .route("/api/v1/repos/team/app/branches", get(branches))
            .route("/api/v1/repos/team/app/branches/{*branch}", get(branch).delete(delete_branch))
            .route("/api/v1/repos/team/app/tags/{*tag}", delete(delete_tag))
            .route("/api/v1/repos/team/app/commits", get(commits))
            .route("/api/v1/repos/team/app/pulls", post(pull))
            .route("/api/v1/repos/team/app/pulls/5", get(pull_answer))
            .route("/api/v1/repos/team/app/pulls/5/merge", post(merge))
            .fallback(|| async { (StatusCode::NOT_FOUND, Json(json!({"message": "not found"}))) })
            .with_state(Arc::clone(&world));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, world, server }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Changes a password at the service, or adds a user.
    pub(crate) fn set_password(&self, user: &str, password: &str) {
        self.world.with(|inner| inner.users.insert(user.to_owned(), password.to_owned()));
    }

    /// Takes the service down, or brings it back.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.world.with(|inner| inner.is_down = is_down);
    }

    /// Makes tokens without answering, or answers again.
    pub(crate) fn hold_answers(&self, holds: bool) {
        self.world.holds.send_replace(holds);
    }

    /// Takes requests for tokens without making any, or goes on.
    pub(crate) fn hold_mints(&self, holds: bool) {
        self.world.holds_mints.send_replace(holds);
    }

    /// Takes requests to delete tokens without doing anything, or goes on.
    pub(crate) fn hold_deletions(&self, holds: bool) {
        self.world.holds_deletions.send_replace(holds);
    }

    /// Answers mints with an error although the tokens will be made, or goes on as usual.
    pub(crate) fn set_late(&self, is_late: bool) {
        self.world.with(|inner| inner.is_late = is_late);
    }

    /// Makes the tokens that were late.
    pub(crate) fn make_late_tokens(&self) {
        self.world.with(|inner| {
            let late = std::mem::take(&mut inner.late);
            inner.tokens.extend(late);
        });
    }

    /// Counts the calls whose name begins so.
    pub(crate) fn calls_of(&self, prefix: &str) -> usize {
        self.world.with(|inner| inner.calls.iter().filter(|call| call.starts_with(prefix)).count())
    }

    /// Names of the tokens that are alive.
    pub(crate) fn live_tokens(&self) -> Vec<String> {
        self.world.with(|inner| inner.tokens.iter().map(|token| token.1.clone()).collect())
    }

    /// Scopes of the tokens that are alive.
    pub(crate) fn live_scopes(&self) -> Vec<String> {
        self.world.with(|inner| inner.tokens.iter().flat_map(|token| token.3.clone()).collect())
    }

    /// Counts the tokens ever made.
    pub(crate) fn minted(&self) -> usize {
        self.world.with(|inner| inner.minted)
    }

    /// Counts the calls ever made.
    pub(crate) fn calls(&self) -> usize {
        self.world.with(|inner| inner.calls.len())
    }

    /// Tells whether a secret was ever sent here.
    pub(crate) fn has_seen(&self, secret: &str) -> bool {
        self.world.with(|inner| inner.seen.contains(secret))
    }

    /// Names of the branches of `team/app`.
    pub(crate) fn branches(&self) -> Vec<String> {
        self.world.with(|inner| inner.branches.iter().cloned().collect())
    }
}

impl Drop for Gitea {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Answer = Result<Response, Response>;

async fn user(State(world): State<Arc<World>>, headers: HeaderMap) -> Answer {
    let login = world.caller("GET user".to_owned(), &headers)?;
    Ok(Json(json!({"id": 7, "login": login})).into_response())
}

async fn mint(
    State(world): State<Arc<World>>,
    Path(user): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Answer {
    let caller = world.caller(format!("POST token of {user}"), &headers)?;
    assert_eq!(caller, user);
    let name = body["name"].as_str().unwrap().to_owned();
    let scopes = body["scopes"].as_array().unwrap();
    let scopes = scopes.iter().map(|scope| scope.as_str().unwrap().to_owned()).collect();
    let mut holds = world.holds_mints.subscribe();
    holds.wait_for(|holds| !holds).await.unwrap();
    let token = world.with(|inner| {
        inner.minted += 1;
        let token = format!("minted-{}-{name}", inner.minted);
        let made = (user, name, token.clone(), scopes);
        if inner.is_late {
            inner.late.push(made);
        } else {
            inner.tokens.push(made);
        }
        (!inner.is_late).then_some(token)
    });
    let Some(token) = token else {
        return Ok(StatusCode::GATEWAY_TIMEOUT.into_response());
    };
    let mut holds = world.holds.subscribe();
    holds.wait_for(|holds| !holds).await.unwrap();
    Ok((StatusCode::CREATED, Json(json!({"sha1": token}))).into_response())
}

async fn delete_token(
    State(world): State<Arc<World>>,
    Path((user, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    world.caller(format!("DELETE token {name} of {user}"), &headers)?;
    let mut holds = world.holds_deletions.subscribe();
    holds.wait_for(|holds| !holds).await.unwrap();
    let is_gone = world.with(|inner| {
        let before = inner.tokens.len();
        inner.tokens.retain(|token| token.0 != user || token.1 != name);
        before > inner.tokens.len()
    });
    Ok(if is_gone { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }.into_response())
}

async fn search(State(world): State<Arc<World>>, headers: HeaderMap) -> Answer {
    world.caller("GET repositories".to_owned(), &headers)?;
    let found = json!({"ok": true, "data": [{"full_name": "team/app", "default_branch": "main"}]});
    Ok(Json(found).into_response())
}

async fn repository(State(world): State<Arc<World>>, headers: HeaderMap) -> Answer {
    world.caller("GET repository".to_owned(), &headers)?;
    Ok(Json(json!({"full_name": "team/app", "default_branch": "main"})).into_response())
}

async fn branches(State(world): State<Arc<World>>, headers: HeaderMap) -> Answer {
    world.caller("GET branches".to_owned(), &headers)?;
    let names = world.with(|inner| inner.branches.clone());
    let listed: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "commit": {"id": "c".repeat(40)}, "protected": name == "main"}))
        .collect();
    Ok(Json(listed).into_response())
}

async fn delete_branch(
    State(world): State<Arc<World>>,
    Path(branch): Path<String>,
    headers: HeaderMap,
) -> Answer {
    world.caller(format!("DELETE branch {branch}"), &headers)?;
    let is_gone = world.with(|inner| inner.branches.remove(&branch));
    Ok(if is_gone { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }.into_response())
}

async fn branch(
    State(world): State<Arc<World>>,
    Path(branch): Path<String>,
    headers: HeaderMap,
) -> Answer {
    world.caller(format!("GET branch {branch}"), &headers)?;
    if !world.with(|inner| inner.branches.contains(&branch)) {
        return Ok(StatusCode::NOT_FOUND.into_response());
    }
    let commit = if branch == "main" { "a" } else { "c" }.repeat(40);
    Ok(Json(json!({"name": branch, "commit": {"id": commit}})).into_response())
}

async fn delete_tag(
    State(world): State<Arc<World>>,
    Path(tag): Path<String>,
    headers: HeaderMap,
) -> Answer {
    world.caller(format!("DELETE tag {tag}"), &headers)?;
    let is_gone = world.with(|inner| inner.tags.remove(&tag));
    Ok(if is_gone { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }.into_response())
}

/// Until the merge, the feature branch has one commit that main does not have.
async fn commits(State(world): State<Arc<World>>, headers: HeaderMap) -> Answer {
    world.caller("GET commits".to_owned(), &headers)?;
    let is_merged = world.with(|inner| inner.is_merged);
    let ahead = if is_merged { json!([]) } else { json!([{"sha": "c".repeat(40)}]) };
    Ok(Json(ahead).into_response())
}

async fn pull(State(world): State<Arc<World>>, headers: HeaderMap) -> Answer {
    world.caller("POST pull".to_owned(), &headers)?;
    Ok((StatusCode::CREATED, Json(json!({"number": 5, "mergeable": true}))).into_response())
}

async fn pull_answer(State(world): State<Arc<World>>, headers: HeaderMap) -> Answer {
    world.caller("GET pull".to_owned(), &headers)?;
    let is_merged = world.with(|inner| inner.is_merged);
    let commit = "d".repeat(40);
    let pull = json!({"number": 5, "merged": is_merged, "merge_commit_sha": commit});
    Ok(Json(pull).into_response())
}

async fn merge(State(world): State<Arc<World>>, headers: HeaderMap) -> Answer {
    world.caller("POST merge".to_owned(), &headers)?;
    world.with(|inner| inner.is_merged = true);
    Ok(StatusCode::OK.into_response())
}
