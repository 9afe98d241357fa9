//! What holds for every connection type, against a server that misbehaves in every way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use keyferry_domain::credential::CredentialKind;
use keyferry_domain::operation::Operation;
use keyferry_domain::secret::{SecretBytes, SecretString};
use keyferry_providers::validate::{CredentialInput, validate_credential, validate_settings};
use keyferry_providers::{
    ALL, Context, Gate, GateSettings, Limits, OpenCredential, ProviderError, credentials, find,
};

use crate::stand_in::StandIn;
use crate::world::{Connection, context, context_within, password};

/// What must show nowhere.
const CANARY: &str = "canary-5f1c";

/// The types that ask a service over HTTP, each with a connection to `url`.
fn connections(url: &str) -> Vec<Connection> {
    let verifiable: Vec<_> =
        ALL.iter().filter(|provider| provider.kind().can_verify).map(|p| p.kind().id).collect();
    let connections: Vec<Connection> = verifiable
        .into_iter()
        .map(|id| {
            // A new type says here where its address goes.
            let settings: &[(&str, &str)] = match id {
                "git" => &[("url", url), ("verify_repository", "team/app")],
                "gitea" => &[("base_url", url)],
                "private_docker_registry" => &[("registry", url)],
                other => panic!("`{other}` is missing in this test"),
            };
            Connection::new(id, settings, password("ci", CANARY))
        })
        .collect();
    assert!(connections.len() >= 3);
    connections
}

/// Verifies with every type at a server that gives every request this answer.
async fn verify_at(
    answer: impl Fn(HeaderMap) -> Response + Clone + Send + Sync + 'static,
    check: impl Fn(&str, ProviderError),
) {
    let handler = move |headers: HeaderMap| {
        let answer = answer.clone();
        async move { answer(headers) }
    };
    let server = StandIn::start(Router::new().fallback(handler)).await;
    for connection in connections(&server.url()) {
        let id = connection.provider.kind().id;
        let error = connection.verify().await.expect_err(id);
        let text = format!("{error} {error:?}");
        assert!(!text.contains(CANARY), "{id}: {text}");
        // `ci:canary-5f1c`
        assert!(!text.contains("Y2k6Y2FuYXJ5LTVmMWM"), "{id}: {text}");
        check(id, error);
    }
}

#[test]
fn declarations_are_complete_and_distinct() {
    let mut names = BTreeSet::new();
    for provider in ALL {
        let kind = provider.kind();
        for name in std::iter::once(&kind.id).chain(kind.aliases) {
            assert!(names.insert(name.to_lowercase()), "`{name}` names two types");
            for spelling in [name.to_uppercase(), name.to_lowercase()] {
                assert_eq!(find(&spelling).unwrap().kind().id, kind.id);
            }
        }
        assert!(!kind.title.is_empty() && !kind.summary.is_empty() && !kind.group.is_empty());
        assert!(!kind.credentials.is_empty(), "{}", kind.id);
        let forms = kind.credentials.iter().map(|form| form.fields);
        for fields in std::iter::once(kind.settings).chain(forms) {
            let distinct: BTreeSet<_> = fields.iter().map(|field| field.name).collect();
            assert_eq!(distinct.len(), fields.len(), "{}", kind.id);
            for field in fields {
                assert!(!field.label.is_empty() && !field.help.is_empty(), "{}", field.name);
                assert!(!field.help.ends_with('.'), "{}: {}", kind.id, field.name);
                assert!(!(field.is_required && field.default.is_some()), "{}", field.name);
            }
        }
        assert!(kind.settings.iter().all(|field| !field.is_secret), "{}", kind.id);
        for form in kind.credentials {
            assert!(credentials::ALL.contains(form), "{}: {}", kind.id, form.title);
        }
    }
    assert!(find("no such type").is_none() && find("").is_none());
}

#[test]
fn unknown_fields_are_refused() {
    for provider in ALL {
        let kind = provider.kind();
        let given = [("no_such_field".to_owned(), "x".to_owned())].into();
        let errors = validate_settings(kind, &given).unwrap_err();
        assert!(errors.iter().any(|error| error.pointer == "/settings/no_such_field"));
        for form in kind.credentials.iter().filter(|form| form.kind != CredentialKind::Values) {
            let fields = [("no_such_field".to_owned(), SecretString::from(CANARY))].into();
            let input = CredentialInput { fields, files: BTreeMap::new() };
            let errors = validate_credential(form, &input, "").unwrap_err();
            assert!(errors.iter().any(|error| error.pointer == "/fields/no_such_field"));
            assert!(!format!("{errors:?}").contains(CANARY));
        }
    }
}

#[test]
fn a_credential_of_the_wrong_kind_never_panics_and_shows_nothing() {
    let wrong = |kind| OpenCredential {
        kind,
        public: BTreeMap::new(),
        secrets: [("strange".to_owned(), CANARY.into())].into(),
        files: [("file".to_owned(), SecretBytes::new(CANARY.into()))].into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for kind in CredentialKind::ALL {
        for connection in connections("http://127.0.0.1:9") {
            let connection = connection.with(wrong(*kind));
            assert!(!format!("{:?}", connection.target()).contains(CANARY));
            let error = runtime.block_on(connection.verify()).unwrap_err();
            assert!(!format!("{error:?} {error}").contains(CANARY), "{error}");
        }
    }
}

#[tokio::test]
async fn what_was_issued_is_masked_and_never_outlives_what_was_asked() {
    let context = context();
    for provider in ALL.iter().filter(|provider| provider.kind().id != "gitea") {
        let form = provider.kind().credentials[0];
        let mut credential = password("ci", CANARY);
        if form.kind == CredentialKind::Values {
            credential.kind = CredentialKind::Values;
            credential.files =
                [("f".to_owned(), SecretBytes::new(CANARY.as_bytes().to_vec()))].into();
        }
        let mut connection = Connection::new(provider.kind().id, &[], credential);
        connection.settings = [("url", "https://h"), ("registry", "h")]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into();
        let plan = connection.plan(&Operation::Material, "lease_1");
        let target = connection.target();
        let lifetime = Duration::from_mins(5);
        let issued =
            provider.issue(&context, target, &Operation::Material, &plan, lifetime).await.unwrap();
        assert!(!format!("{issued:?}{plan:?}{target:?}").contains(CANARY));
        let latest = context.clock.now().plus(lifetime);
        assert!(issued.expires_at.is_none_or(|expires_at| expires_at <= latest));
        // What is handed over as it is stored stays alive, and says so.
        assert!(plan.handle.is_some() || issued.residue.is_some(), "{}", provider.kind().id);
    }
}

#[tokio::test]
async fn their_401_and_403_are_rejections_without_the_secret() {
    for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
        let answer = move |headers: HeaderMap| {
            // The worst of servers repeats what it was sent.
            let sent = headers.get("authorization").map_or("", |value| value.to_str().unwrap());
            let body = format!("bad credential {CANARY} {sent}");
            (status, [("www-authenticate", "Basic realm=\"x\"")], body).into_response()
        };
        verify_at(answer, |id, error| {
            assert!(matches!(error, ProviderError::Rejected { .. }), "{id}: {error:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn their_429_is_a_rate_limit_with_its_wait() {
    let answer =
        |_| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")], "slow down").into_response();
    verify_at(answer, |id, error| {
        let retry_after = Some(Duration::from_secs(7));
        assert_eq!(error, ProviderError::RateLimited { retry_after }, "{id}");
    })
    .await;
}

#[tokio::test]
async fn their_5xx_is_unavailable() {
    for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE] {
        let answer = move |_: HeaderMap| status.into_response();
        verify_at(answer, |id, error| {
            assert!(matches!(error, ProviderError::Unavailable { .. }), "{id}: {error:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn garbage_is_unexpected_and_never_healthy() {
    for body in ["", "{", "null", "[]", "<html><title>Welcome</title></html>", "\u{0}\u{1}", "{}"] {
        let answer = move |_: HeaderMap| (StatusCode::OK, body).into_response();
        verify_at(answer, |id, error| {
            let is_expected = matches!(
                error,
                ProviderError::Unexpected { .. } | ProviderError::Misconfigured { .. }
            );
            assert!(is_expected, "{id}: {error:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn an_endless_body_ends_in_an_error() {
    for status in [StatusCode::OK, StatusCode::UNAUTHORIZED] {
        let answer = move |_: HeaderMap| {
            let chunk = Bytes::from(vec![b' '; 64 * 1024]);
            let endless = futures::stream::repeat(chunk).map(Ok::<_, std::io::Error>);
            (status, Body::from_stream(endless)).into_response()
        };
        let started = Instant::now();
        verify_at(answer, |_, _| ()).await;
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn silence_is_unavailable_within_the_time_of_the_call() {
    let handler = || async { std::future::pending::<StatusCode>().await };
    let server = StandIn::start(Router::new().fallback(handler)).await;
    let context = context_within(Duration::from_millis(300));
    for connection in connections(&server.url()) {
        let started = Instant::now();
        let error = connection.provider.verify(&context, connection.target()).await.unwrap_err();
        assert!(matches!(error, ProviderError::Unavailable { .. }), "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let listener = StandIn::listen().await;
    let url = listener.url().to_owned();
    drop(listener);
    for connection in connections(&url) {
        let error = connection.verify().await.unwrap_err();
        assert!(matches!(error, ProviderError::Unavailable { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let elsewhere = StandIn::start(Router::new().fallback(move |headers: HeaderMap| {
        let noted = Arc::clone(&noted);
        async move {
            noted.lock().unwrap().push(format!("{headers:?}"));
            StatusCode::OK
        }
    }))
    .await;
    for status in [301_u16, 302, 303, 307, 308] {
        let location = format!("{}/elsewhere", elsewhere.url());
        let answer = move |_: HeaderMap| {
            let status = StatusCode::from_u16(status).unwrap();
            (status, [("location", location.clone())]).into_response()
        };
        verify_at(answer, |id, error| {
            let is_expected = matches!(
                error,
                ProviderError::Misconfigured { .. } | ProviderError::Unexpected { .. }
            );
            assert!(is_expected, "{id}: {error:?}");
        })
        .await;
    }
    assert!(seen.lock().unwrap().is_empty(), "{seen:?}");
}

#[tokio::test]
async fn the_gate_stands_before_every_type() {
    let context = Context {
        gate: Arc::new(Gate::new(GateSettings::default(), Limits::default())),
        ..context()
    };
    let server = StandIn::start(Router::new().fallback(|| async { StatusCode::OK })).await;
    for connection in connections(&server.url()) {
        let field = match connection.provider.kind().id {
            "git" => "url",
            "gitea" => "base_url",
            _ => "registry",
        };
        let error = connection.provider.verify(&context, connection.target()).await.unwrap_err();
        let ProviderError::Misconfigured { field: named, reason } = error else {
            panic!("{error:?}")
        };
        assert_eq!(named, field);
        assert!(reason.contains("--allow-address"), "{reason}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_revoked_again_and_again() {
    let answer = || async { (StatusCode::NOT_FOUND, r#"{"message":"not found"}"#) };
    let server = StandIn::start(Router::new().fallback(answer)).await;
    for connection in connections(&server.url()) {
        let plan = connection.plan(&Operation::Material, "lease_1");
        if plan.handle.is_some() {
            connection.revoke(&plan).await.unwrap();
            connection.revoke(&plan).await.unwrap();
        }
    }
}
