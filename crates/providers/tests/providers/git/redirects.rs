//! Where a server may send us, and what goes along.

use keyferry_domain::operation::RepositoryPath;
use keyferry_providers::ProviderError;
use keyferry_providers::provider::{Branch, ServicePage};

use super::stand_in::{StandIn, advertisement, answer};
use super::world::{CANARY, context, password, repositories, settings, target};

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

async fn list(url: &str) -> Result<ServicePage<Branch>, ProviderError> {
    let settings = settings(&[("url", url)]);
    let credential = password("ci", CANARY);
    let repository: RepositoryPath = "team/app".parse().unwrap();
    repositories()
        .list_branches(&context(), target(&settings, &credential), &repository, None, None, 50)
        .await
}

#[tokio::test]
async fn another_host_never_sees_a_request() {
    let other = StandIn::start(|_, _| answer(200, &[], "")).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/team/app.git/info/refs", other.url);
        let server =
            StandIn::start(move |_, _| answer(status, &[("location", &location)], "")).await;
        let error = list(&server.url).await.unwrap_err();
        let ProviderError::Misconfigured { field, reason } = &error else { panic!("{error}") };
        assert_eq!(field, "url");
        assert!(reason.contains("final address"), "{reason}");
        assert_eq!(server.requests().len(), 1);
    }
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn other_schemes_and_logins_in_the_target_are_not_followed() {
    for location in
        ["file:///etc/passwd", "https://127.0.0.1/x", "//evil.example/x", "http://u:p@127.0.0.1/"]
    {
        let server = StandIn::start(move |_, _| answer(302, &[("location", location)], "")).await;
        assert!(list(&server.url).await.is_err(), "{location}");
        assert_eq!(server.requests().len(), 1, "{location}");
    }
}

#[tokio::test]
async fn the_same_host_may_send_us_to_another_path_and_it_is_used_from_then_on() {
    let server = StandIn::start(|_, line| {
        if line.starts_with("POST") {
            let body = super::stand_in::packets(&[&format!("{A} refs/heads/main\n"), "0000"]);
            return answer(200, &[("content-type", "application/x-git-upload-pack-result")], body);
        }
        if line.contains("/team/app.git/") {
            return advertisement("git-upload-pack", &["version 2\n", "ls-refs\n", "0000"]);
        }
        answer(301, &[("location", "/team/app.git/info/refs?service=git-upload-pack")], "")
    })
    .await;
    assert_eq!(list(&server.url).await.unwrap().items.len(), 1);
    assert_eq!(
        server.requests(),
        [
            "GET /team/app/info/refs?service=git-upload-pack +auth",
            "GET /team/app.git/info/refs?service=git-upload-pack +auth",
            "POST /team/app.git/git-upload-pack +auth",
        ]
    );
}

#[tokio::test]
async fn going_in_circles_ends() {
    let server = StandIn::start(|_, _| answer(302, &[("location", "/again")], "")).await;
    let error = list(&server.url).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unexpected { .. }), "{error}");
    assert_eq!(server.requests().len(), 4);
}
