//! A home of its own for each test, and a server that answers what it was told to.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

pub(crate) const ORGANIZATION: &str = "org_01arz3ndektsv4rrffq69g5fav";
pub(crate) const USER: &str = "user_01arz3ndektsv4rrffq69g5fav";
pub(crate) const CREDENTIAL: &str = "cred_01arz3ndektsv4rrffq69g5fav";
pub(crate) const PIPELINE: &str = "pipe_01arz3ndektsv4rrffq69g5fav";
pub(crate) const RUN: &str = "run_01arz3ndektsv4rrffq69g5fav";
pub(crate) const JOB: &str = "job_01arz3ndektsv4rrffq69g5fav";

/// A home without anything in it.
pub(crate) struct World {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    /// A world that is signed in to a server.
    pub(crate) fn signed_in(server: &StandIn) -> Self {
        Self::new()
            .with("KEYFERRY_URL", &server.url)
            .with("KEYFERRY_TOKEN", "kf_pat_of_the_test")
            .with("KEYFERRY_ORGANIZATION", ORGANIZATION)
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with_input(arguments, "")
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Outcome {
        self.run_program(Path::new(env!("CARGO_BIN_EXE_keyferry")), arguments, input)
    }

    pub(crate) fn run_program(&self, program: &Path, arguments: &[&str], input: &str) -> Outcome {
        #[expect(clippy::disallowed_methods, reason = "these tests start the binary itself")]
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", "/usr/bin:/bin")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| {
            String::from_utf8(bytes)
                .unwrap()
                .replace(&self.folder.path().display().to_string(), "~")
        };
        Outcome {
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            code: output.status.code().unwrap(),
        }
    }
}

/// One request as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) body: Value,
}

struct Script {
    answers: Vec<(String, u16, Value)>,
    seen: Vec<Seen>,
}

/// A server on a port of its own that answers from a list: `("GET /api/v1/user", 200, …)`. Several
/// answers for one request are given in their order, the last one again and again.
pub(crate) struct StandIn {
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
    _runtime: tokio::runtime::Runtime,
}

impl StandIn {
    pub(crate) fn start(answers: &[(&str, u16, Value)]) -> Self {
        let answers = answers
            .iter()
            .map(|(request, status, body)| ((*request).to_owned(), *status, body.clone()))
            .collect();
        let script = Arc::new(Mutex::new(Script { answers, seen: Vec::new() }));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url, script, _runtime: runtime }
    }

    /// Returns every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }

    /// Returns the body of the one request of this kind.
    pub(crate) fn body(&self, request: &str) -> Value {
        let bodies: Vec<Value> = self
            .seen()
            .into_iter()
            .filter(|seen| format!("{} {}", seen.method, seen.path) == request)
            .map(|seen| seen.body)
            .collect();
        assert_eq!(bodies.len(), 1, "{request} among {:?}", self.seen());
        bodies[0].clone()
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut script = script.lock().unwrap();
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .map(|value| value.trim_start_matches("Bearer ").to_owned());
    script.seen.push(Seen {
        method: method.to_string(),
        path: uri.path().to_owned(),
        token,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    });
    let request = format!("{method} {}", uri.path());
    let fitting: Vec<usize> = script
        .answers
        .iter()
        .enumerate()
        .filter(|(_, (known, ..))| *known == request)
        .map(|(index, _)| index)
        .collect();
    let (status, body) = match fitting.as_slice() {
        [] => (404, problem(404, "not_found", &format!("the stand-in has no {request}"))),
        [last] => (script.answers[*last].1, script.answers[*last].2.clone()),
        [first, ..] => {
            let (_, status, body) = script.answers.remove(*first);
            (status, body)
        }
    };
    let status = StatusCode::from_u16(status).unwrap();
    if status == StatusCode::NO_CONTENT {
        return status.into_response();
    }
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Value {
    json!({
        "type": format!("/docs/errors#{code}"), "title": "x", "status": status, "code": code,
        "detail": detail, "request_id": "req_01arz3ndektsv4rrffq69g5fav",
    })
}

pub(crate) fn in_organization(rest: &str) -> String {
    format!("/api/v1/organizations/{ORGANIZATION}/{rest}")
}

pub(crate) fn user() -> Value {
    json!({
        "id": USER, "email": "jane@example.com", "name": "Jane",
        "memberships": [
            { "organization_id": ORGANIZATION, "organization_name": "Example", "role": "owner" },
        ],
    })
}

fn field(name: &str, required: bool, secret: bool, multiline: bool) -> Value {
    json!({
        "name": name, "label": name, "help": format!("The {name}"), "required": required,
        "secret": secret, "multiline": multiline, "format": "text",
    })
}

pub(crate) fn types() -> Value {
    json!({ "items": [
        {
            "id": "git", "aliases": ["customGit"], "title": "Git server", "group": "Code",
            "summary": "Any Git server", "capabilities": ["branches"], "can_verify": true,
            "settings": [field("url", true, false, false), field("known_hosts", false, false, true)],
            "credentials": [
                { "kind": "username_password", "title": "User name and password", "fields":
                    [field("username", true, false, false), field("password", true, true, false)] },
                { "kind": "ssh_key", "title": "SSH key", "fields":
                    [field("private_key", true, true, true)] },
            ],
        },
        {
            "id": "generic", "aliases": [], "title": "Values and files", "group": "Other",
            "summary": "Named values and files", "capabilities": [], "can_verify": false,
            "settings": [],
            "credentials": [{ "kind": "values", "title": "Values and files", "fields": [] }],
        },
    ]})
}

pub(crate) fn connection(health: &str) -> Value {
    json!({
        "connection_id": "team-git", "name": "Team", "type": "git",
        "settings": { "url": "https://git.example.com/team" }, "credential_id": CREDENTIAL,
        "owner_id": USER, "scope": "private", "users": [], "groups": [],
        "health": { "status": health, "checked_at": "2026-01-31T12:00:00.000Z" },
        "last_used_at": null, "created_at": "2026-01-31T12:00:00.000Z", "version": 7,
    })
}
