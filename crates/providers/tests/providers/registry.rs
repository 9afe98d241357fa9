//! A real image registry, and token servers that a registry names.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use keyferry_domain::lease::Narrowing;
use keyferry_domain::operation::{Access, Operation};
use keyferry_providers::ProviderError;
use keyferry_testkit::Authority;
use keyferry_testkit::peers::registry::{PROGRAMS, Registry, USER};

use crate::stand_in::StandIn;
use crate::world::{Connection, git, pair, password, registry, token};

fn connection(address: &str, secret: &str) -> Connection {
    Connection::new("private_docker_registry", &[("registry", address)], password(USER, secret))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_registry_says_yes_and_no() {
    if !keyferry_testkit::require(PROGRAMS) {
        return;
    }
    let peer = Registry::start("hunter-of-images").unwrap();
    let address = peer.url().replace("localhost", "127.0.0.1");
    assert!(connection(&address, "hunter-of-images").verify().await.unwrap().contains("`ci`"));
    let error = connection(&address, "canary-wrong").verify().await.unwrap_err();
    assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
    assert!(!error.to_string().contains("canary"));
    peer.change_password("another-one").unwrap();
    let error = connection(&address, "hunter-of-images").verify().await.unwrap_err();
    assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
    connection(&address, "another-one").verify().await.unwrap();
    // TLS towards a server without it is not an answer.
    let error = connection(address.trim_start_matches("http://"), "x").verify().await.unwrap_err();
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_must_be_named() {
    let certificates = keyferry_testkit::certificates::PROGRAMS;
    if !keyferry_testkit::require(PROGRAMS) || !keyferry_testkit::require(certificates) {
        return;
    }
    let authority = Authority::new().unwrap();
    let peer = Registry::start_tls("hunter-of-images", &authority).unwrap();
    let address = peer.host().replace("localhost", "127.0.0.1");
    let mut connection = connection(&address, "hunter-of-images");
    let error = connection.verify().await.unwrap_err();
    assert!(
        matches!(&error, ProviderError::Misconfigured { field, .. } if field == "ca_certificate"),
        "{error}"
    );
    let ca = std::fs::read_to_string(authority.certificate()).unwrap();
    connection.settings.insert("ca_certificate".to_owned(), ca);
    connection.verify().await.unwrap();
}

#[tokio::test]
async fn the_stored_secret_is_handed_over_and_told_as_residue() {
    let by_password = connection("registry.example.com", "secret");
    let by_token = by_password.with(token("secret"));
    for (connection, username, word) in
        [(&by_password, "ci", "password"), (&by_token, "oauth2", "token")]
    {
        for operation in [registry(Access::Read), registry(Access::Write), Operation::Material] {
            let plan = connection.plan(&operation, "lease_1");
            assert_eq!((plan.narrowing.clone(), plan.handle.clone()), (Narrowing::Stored, None));
        }
        let plan = connection.plan(&Operation::Material, "lease_1");
        let issued = connection.issue(&Operation::Material, &plan).await.unwrap();
        assert_eq!(pair(&issued), (username.to_owned(), "secret".to_owned()));
        assert!(issued.residue.unwrap().what.contains(word));
        let git = git(None, Access::Read);
        let error = connection.provider.plan(connection.target(), &git, "x").unwrap_err();
        assert!(matches!(error, ProviderError::Misconfigured { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_login_is_handed_over_once_the_registry_has_taken_it() {
    let (peer, sign_ins) = token_registry(None, r#"{"token":"good-token"}"#).await;
    for (secret, is_right) in [("secret", true), ("canary-wrong", false)] {
        let connection = connection(&peer.url(), secret);
        for access in [Access::Read, Access::Write] {
            let plan = connection.plan(&registry(access), "lease_1");
            let issued = connection.issue(&registry(access), &plan).await;
            if is_right {
                assert_eq!(pair(&issued.unwrap()), ("ci".to_owned(), "secret".to_owned()));
            } else {
                let error = issued.unwrap_err();
                assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
                assert!(!error.to_string().contains("canary"), "{error}");
            }
        }
    }
    assert_eq!(sign_ins.load(Ordering::SeqCst), 4);
    // No answer is no yes; and where nobody is asked, there is nothing to refuse.
    let open = StandIn::start(Router::new().route("/v2/", get(|| async { "{}" }))).await;
    let gone = StandIn::start(Router::new()).await;
    let plan = connection(&open.url(), "x").plan(&registry(Access::Read), "lease_1");
    connection(&open.url(), "x").issue(&registry(Access::Read), &plan).await.unwrap();
    assert!(connection(&gone.url(), "x").issue(&registry(Access::Read), &plan).await.is_err());
}

/// A registry that asks for tokens of `realm`; counts sign-ins that reach its own token server.
async fn token_registry(
    realm: Option<&str>,
    token_answer: &'static str,
) -> (StandIn, Arc<AtomicUsize>) {
    let sign_ins = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sign_ins);
    let listener = StandIn::listen().await;
    let realm = realm.map_or_else(|| format!("{}/token", listener.url()), str::to_owned);
    let api = move |headers: HeaderMap| {
        let realm = realm.clone();
        async move {
            let is_signed_in =
                headers.get("authorization").is_some_and(|value| value == "Bearer good-token");
            if is_signed_in {
                return StatusCode::OK.into_response();
            }
            let challenge = format!("Bearer realm=\"{realm}\",service=\"reg.test\"");
            (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response()
        }
    };
    let token = move |headers: HeaderMap| {
        let counted = Arc::clone(&counted);
        async move {
            counted.fetch_add(1, Ordering::SeqCst);
            // `ci:secret`
            if headers.get("authorization").is_some_and(|value| value == "Basic Y2k6c2VjcmV0") {
                (StatusCode::OK, token_answer)
            } else {
                (StatusCode::UNAUTHORIZED, r#"{"details":"incorrect username or password"}"#)
            }
        }
    };
    let stand_in =
        listener.serve(Router::new().route("/v2/", get(api)).route("/token", get(token)));
    (stand_in, sign_ins)
}

#[tokio::test]
async fn a_token_server_is_signed_in_to_and_its_token_tried() {
    for answer in [r#"{"token":"good-token"}"#, r#"{"access_token":"good-token"}"#] {
        let (peer, sign_ins) = token_registry(None, answer).await;
        connection(&peer.url(), "secret").verify().await.unwrap();
        let error = connection(&peer.url(), "canary-wrong").verify().await.unwrap_err();
        assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
        assert_eq!(sign_ins.load(Ordering::SeqCst), 2);
    }
    let (peer, _) = token_registry(None, r#"{"token":"good-for-nothing"}"#).await;
    let error = connection(&peer.url(), "secret").verify().await.unwrap_err();
    assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
    for answer in ["{}", r#"{"token":""}"#, "<html>", "[1]"] {
        let (peer, _) = token_registry(None, answer).await;
        let error = connection(&peer.url(), "secret").verify().await.unwrap_err();
        assert!(matches!(error, ProviderError::Unexpected { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_token_server_elsewhere_gets_no_password() {
    // The other one is on `localhost`, the registry on `127.0.0.1`: another host.
    let (elsewhere, sign_ins) = token_registry(None, r#"{"token":"good-token"}"#).await;
    let other = elsewhere.url().replace("127.0.0.1", "localhost");
    let (peer, _) = token_registry(Some(&format!("{other}/token")), "{}").await;
    let mut connection = connection(&peer.url(), "secret");
    let error = connection.verify().await.unwrap_err();
    assert!(
        matches!(&error, ProviderError::Misconfigured { field, .. } if field == "token_realm_host"),
        "{error}"
    );
    assert_eq!(sign_ins.load(Ordering::SeqCst), 0);

    let named = other.trim_start_matches("http://").to_owned();
    connection.settings.insert("token_realm_host".to_owned(), named);
    connection.verify().await.unwrap();
    assert_eq!(sign_ins.load(Ordering::SeqCst), 1);

    // The gate stands before token servers, too.
    let (peer, _) = token_registry(Some("http://169.254.169.254/token"), "{}").await;
    let settings = [("registry", peer.url()), ("token_realm_host", "169.254.169.254".to_owned())];
    connection.settings =
        settings.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    let error = connection.verify().await.unwrap_err();
    assert!(matches!(error, ProviderError::Misconfigured { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_registry_is_not_healthy() {
    let open = StandIn::start(Router::new().route("/v2/", get(|| async { "{}" }))).await;
    let error = connection(&open.url(), "secret").verify().await.unwrap_err();
    assert!(error.to_string().contains("lets everyone in"), "{error}");

    let other = StandIn::start(Router::new()).await;
    let error = connection(&other.url(), "secret").verify().await.unwrap_err();
    assert!(matches!(&error, ProviderError::Misconfigured { field, .. } if field == "registry"));

    for challenge in ["Negotiate", "", "Bearer", "Bearer realm=\"not a url\""] {
        let answer =
            move || async move { (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]) };
        let peer = StandIn::start(Router::new().route("/v2/", get(answer))).await;
        let error = connection(&peer.url(), "secret").verify().await.unwrap_err();
        assert!(matches!(error, ProviderError::Unexpected { .. }), "{challenge}: {error}");
    }
}
