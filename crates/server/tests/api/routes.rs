//! What holds for every operation alike, tried on each one that the description of the API names:
//! nothing without a token, no input that is not understood, no words about what others have.

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{Method, Request};
use keyferry_server::http::openapi;
use serde_json::{Value, json};

use crate::fixture::{Answer, NO_ORGANIZATION, Person, TestServer};

/// Operations that one calls before one has a token; each takes another proof in its body.
const WITHOUT_TOKEN: [&str; 3] = ["accept_invitation", "create_session", "set_up_server"];

/// A text that no answer may repeat.
const SECRET: &str = "hunter2-in-a-body";

/// An operation of the API.
pub(crate) struct Operation {
    /// Its id.
    pub(crate) id: String,
    method: Method,
    /// The path with `{names}`.
    template: String,
    has_body: bool,
    is_secured: bool,
    query: Vec<(String, bool)>,
}

/// Reads every operation from the description of the API.
pub(crate) fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let mut found = Vec::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let is_required = |parameter: &Value| parameter["required"] == true;
            found.push(Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                template: template.clone(),
                has_body: operation.get("requestBody").is_some(),
                is_secured: operation["security"] == json!([{"bearer": []}]),
                query: parameters
                    .iter()
                    .filter(|parameter| parameter["in"] == "query")
                    .map(|parameter| {
                        let name = parameter["name"].as_str().unwrap().to_owned();
                        (name, is_required(parameter))
                    })
                    .collect(),
            });
        }
    }
    assert!(found.len() > 70, "only {} operations are described", found.len());
    found
}

#[test]
fn every_operation_is_described_with_each_parameter_once_and_with_its_refusals() {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let problem = json!({"$ref": "#/components/schemas/Problem"});
    for (template, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let id = &operation["operationId"];
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let mut names: Vec<&str> =
                parameters.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{id}: {names:?}");
            for part in template.split('/') {
                let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
                assert!(name.is_none_or(|name| names.contains(&name)), "{id}: {part}");
            }
            for statuses in ["4XX", "5XX"] {
                let refusal = &operation["responses"][statuses]["content"];
                assert_eq!(refusal["application/problem+json"]["schema"], problem, "{id}");
            }
        }
    }
    for schema in ["Problem", "FieldProblem"] {
        assert!(document["components"]["schemas"][schema].is_object(), "{schema}");
    }
}

/// Returns an id of the right form that nothing has.
fn absent(name: &str) -> &'static str {
    match name {
        "organization" => NO_ORGANIZATION,
        "user" => "user_00000000000000000000000000",
        "group" => "group_00000000000000000000000000",
        "token" => "tok_00000000000000000000000000",
        "credential" => "cred_00000000000000000000000000",
        "connection" => "nothing-here",
        "pipeline" => "pipe_00000000000000000000000000",
        "binding" => "bind_00000000000000000000000000",
        "run" => "run_00000000000000000000000000",
        "job" => "job_00000000000000000000000000",
        "lease" => "lease_00000000000000000000000000",
        "workload" => "work_00000000000000000000000000",
        "runner" => "runner_00000000000000000000000000",
        "number" => "1",
        other => panic!("say here what an absent {other} is called"),
    }
}

impl Operation {
    fn names(&self) -> Vec<&str> {
        self.template
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect()
    }

    /// Returns a path of the organization, everything else in it absent, with what the query
    /// must have.
    fn path(&self, organization: &str) -> String {
        let mut path = self.template.clone();
        for name in self.names() {
            let id = if name == "organization" { organization } else { absent(name) };
            path = path.replace(&format!("{{{name}}}"), id);
        }
        let required: Vec<String> = self
            .query
            .iter()
            .filter(|(_, is_required)| *is_required)
            .map(|(name, _)| format!("{name}=team/app"))
            .collect();
        if required.is_empty() { path } else { format!("{path}?{}", required.join("&")) }
    }
}

impl Operation {
    /// Asks for it with a token, everything that its path names absent but the organization;
    /// `None` for what needs a body or is not below an organization.
    pub(crate) async fn ask(&self, server: &TestServer, token: &str) -> Option<Answer> {
        if self.has_body || !self.names().contains(&"organization") {
            return None;
        }
        let path = self.path(server.organization.as_str());
        Some(server.call(Some(token), self.method.clone(), &path, None).await)
    }
}

/// Sends any bytes as the body of an operation.
async fn send(server: &TestServer, operation: &Operation, media: &str, body: Vec<u8>) -> Answer {
    let mut request = Request::builder()
        .method(operation.method.clone())
        .uri(operation.path(server.organization.as_str()))
        .header(CONTENT_TYPE, media);
    if operation.is_secured {
        request = request.header(AUTHORIZATION, format!("Bearer {}", server.owner.token));
    }
    let answer = server.send(request.body(Body::from(body)).unwrap()).await;
    assert!(!answer.text.contains(SECRET), "{} repeats its input: {}", answer.what, answer.text);
    answer
}

#[test]
fn only_signing_in_needs_no_token() {
    let open: Vec<String> = operations()
        .into_iter()
        .filter(|operation| !operation.is_secured)
        .map(|operation| operation.id)
        .collect();
    assert_eq!(open, WITHOUT_TOKEN);
}

#[tokio::test]
async fn nothing_is_done_without_a_token_that_works() {
    let server = TestServer::start().await;
    let wrong = "kf_pat_0123456789abcdefghijklmnopqrstuvwxyzABCDEF";
    let ended = server.sign_in(keyferry_domain::Role::Owner).await;
    server.delete(&ended, "/api/v1/sessions/current").await.done();
    let headers = [
        None,
        Some(String::new()),
        Some(server.owner.token.clone()),
        Some(format!("Basic {}", server.owner.token)),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(format!("Bearer {wrong}")),
        Some(format!("Bearer {}", server.owner.token.replace("kf_sess_", "kf_pat_"))),
        Some(format!("Bearer {}x", server.owner.token)),
        Some(format!("Bearer {}", ended.token)),
    ];
    for operation in operations().iter().filter(|operation| operation.is_secured) {
        for header in &headers {
            let mut request = Request::builder()
                .method(operation.method.clone())
                .uri(operation.path(server.organization.as_str()))
                .header(CONTENT_TYPE, "application/json");
            if let Some(header) = header {
                request = request.header(AUTHORIZATION, header);
            }
            let answer = server.send(request.body(Body::from("{}")).unwrap()).await;
            answer.refused(401, "unauthenticated");
            assert_eq!(answer.headers[WWW_AUTHENTICATE], "Bearer");
            assert_eq!(answer.headers[CACHE_CONTROL], "no-store");
            assert_eq!(answer.headers["x-content-type-options"], "nosniff");
            for secret in [&server.owner.token, &ended.token, wrong] {
                assert!(!answer.text.contains(secret), "{} repeats the token", answer.what);
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_understood_is_refused_and_never_repeated() {
    let server = TestServer::start().await;
    let deep = "[".repeat(100_000);
    let bodies: [Vec<u8>; 10] = [
        Vec::new(),
        SECRET.as_bytes().to_vec(),
        format!("{{\"surprise\": \"{SECRET}\"").into_bytes(),
        format!("\"{SECRET}\"").into_bytes(),
        format!("[\"{SECRET}\"]").into_bytes(),
        b"null".to_vec(),
        b"17".to_vec(),
        b"{\"name\": \"\xff\xfe\"}".to_vec(),
        deep.into_bytes(),
        format!("{{}} {SECRET}").into_bytes(),
    ];
    for operation in operations().iter().filter(|operation| operation.has_body) {
        for body in &bodies {
            let answer = send(&server, operation, "application/json", body.clone()).await;
            answer.refused(400, "invalid_body");
        }
    }
}

#[tokio::test]
async fn unknown_fields_are_refused_by_name() {
    let server = TestServer::start().await;
    for operation in operations().iter().filter(|operation| operation.has_body) {
        let body = json!({"surprise": SECRET}).to_string().into_bytes();
        let problem =
            send(&server, operation, "application/json", body).await.refused(400, "invalid_body");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("unknown field `surprise`"), "{}: {detail}", operation.id);
    }
}

#[tokio::test]
async fn bodies_of_another_kind_are_refused() {
    let server = TestServer::start().await;
    for operation in operations().iter().filter(|operation| operation.has_body) {
        for media in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
            let body = json!({"name": SECRET}).to_string().into_bytes();
            send(&server, operation, media, body).await.refused(415, "not_json");
        }
    }
}

#[tokio::test]
async fn huge_bodies_are_refused() {
    let server = TestServer::start().await;
    let body = vec![b' '; 4 * 1024 * 1024 + 1];
    for operation in operations().iter().filter(|operation| operation.has_body) {
        send(&server, operation, "application/json; charset=utf-8", body.clone())
            .await
            .refused(413, "body_too_large");
    }
}

#[tokio::test]
async fn ids_of_another_form_or_kind_are_refused() {
    let server = TestServer::start().await;
    for operation in operations() {
        for name in operation.names() {
            let whole = operation.path(server.organization.as_str());
            let good =
                if name == "organization" { server.organization.as_str() } else { absent(name) };
            for bad in ["x", "%00", "..%2F..", "sess_00000000000000000000000000", "%C3%BC", "-1"] {
                // Nearly every text is a connection's ID, and a number may be negative.
                let is_good = match name {
                    "connection" => bad.starts_with("sess_"),
                    "number" => bad == "-1",
                    _ => false,
                };
                if is_good {
                    continue;
                }
                let path = whole.replacen(&format!("/{good}"), &format!("/{bad}"), 1);
                let token = Some(server.owner.token.as_str());
                let body = json!({});
                let body = operation.has_body.then_some(&body);
                let answer = server.call(token, operation.method.clone(), &path, body).await;
                answer.invalid(&format!("/{name}"));
            }
        }
    }
}

#[tokio::test]
async fn queries_that_are_not_understood_are_refused() {
    let server = TestServer::start().await;
    let ask = async |operation: &Operation, query: &str| {
        let path = operation.path(server.organization.as_str());
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}{query}");
        server.call(Some(&server.owner.token), operation.method.clone(), &path, None).await
    };
    let mut lists = 0;
    for operation in operations() {
        if operation.query.is_empty() {
            continue;
        }
        ask(&operation, "surprise=1").await.refused(400, "invalid_query");
        if operation.query.iter().any(|(name, _)| name == "limit") {
            lists += 1;
            ask(&operation, "limit=x").await.refused(400, "invalid_query");
            ask(&operation, "limit=-1").await.refused(400, "invalid_query");
            ask(&operation, "limit=0").await.invalid("/limit");
            ask(&operation, "limit=201").await.invalid("/limit");
            ask(&operation, "cursor=").await.invalid("/cursor");
            let long = format!("cursor={}", "x".repeat(513));
            ask(&operation, &long).await.invalid("/cursor");
            let strange = ask(&operation, "cursor=%00%27%22%3B--").await;
            assert!(!strange.status.is_server_error(), "{}: {}", strange.what, strange.text);
        }
    }
    assert!(lists >= 12, "only {lists} lists are tried");
}

/// Whether an organization exists, and what is in it, is nobody's business but its members'.
#[tokio::test]
async fn outsiders_hear_the_same_of_what_exists_and_what_does_not() {
    let server = TestServer::start().await;
    let outsider = server.outsider().await;
    let session = outsider.clone();
    let token = server.token_of(&outsider).await;
    let told = async |person: &Person, operation: &Operation, organization: &str| {
        let path = operation.path(organization);
        let answer = server.call(Some(&person.token), operation.method.clone(), &path, None).await;
        let mut problem = answer.refused(404, "not_found");
        problem["request_id"] = Value::Null;
        problem.to_string().replace(organization, "ORGANIZATION")
    };
    let mut tried = 0;
    for operation in operations() {
        if operation.has_body || !operation.names().contains(&"organization") {
            continue;
        }
        tried += 1;
        for person in [&session, &token] {
            let real = told(person, &operation, server.organization.as_str()).await;
            let none = told(person, &operation, NO_ORGANIZATION).await;
            assert_eq!(real, none, "{}", operation.id);
        }
    }
    assert!(tried > 30, "only {tried} operations are tried");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let server = TestServer::start().await;
    for operation in operations() {
        let names = operation.names();
        if operation.has_body || !names.contains(&"organization") || names.len() < 2 {
            continue;
        }
        let path = operation.path(server.organization.as_str());
        let token = Some(server.owner.token.as_str());
        server.call(token, operation.method.clone(), &path, None).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn other_addresses_and_methods_are_refused_as_problems() {
    let server = TestServer::start().await;
    for path in ["/api", "/api/v1", "/api/v2/organizations", "/api/v1/organizations/", "/x%00"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        server.send(request).await.refused(404, "no_route");
    }
    let mut templates: Vec<(String, Operation)> =
        operations().into_iter().map(|operation| (operation.template.clone(), operation)).collect();
    templates.dedup_by(|a, b| a.0 == b.0);
    for (_, operation) in templates {
        let path = operation.path(server.organization.as_str());
        for method in [Method::TRACE, Method::OPTIONS, Method::from_bytes(b"BREW").unwrap()] {
            server.call(None, method, &path, None).await.refused(405, "wrong_method");
        }
    }
}

#[tokio::test]
async fn the_description_is_served_and_health_needs_no_token() {
    let server = TestServer::start().await;
    let shown = server.call(None, Method::GET, "/api/openapi.json", None).await.ok();
    assert_eq!(shown, serde_json::to_value(openapi::document()).unwrap());
    for path in ["/health/live", "/health/ready"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        server.send(request).await.done();
    }
}

#[tokio::test]
async fn a_browser_is_told_where_to_go_on() {
    let server = TestServer::start().await;
    for (path, command) in [("/", "keyferry login"), ("/setup", "keyferry setup")] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let answer = server.send(request).await;
        assert_eq!(answer.headers[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert!(answer.status.is_success() && answer.text.contains(command), "{path}");
    }
}
