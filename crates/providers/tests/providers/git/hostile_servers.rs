//! Servers that are down, slow, wrong, endless or lying; one answer of the provider for each.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::response::Response;
use keyferry_domain::operation::RepositoryPath;
use keyferry_providers::provider::{Branch, ServicePage};
use keyferry_providers::{Context, ProviderError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::stand_in::{StandIn, advertisement, answer, packets};
use super::world::{
    CANARY, context, context_allowing, git, password, repositories, settings, target,
};

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn path() -> RepositoryPath {
    "team/app".parse().unwrap()
}

async fn list(context: &Context, url: &str) -> Result<ServicePage<Branch>, ProviderError> {
    let settings = settings(&[("url", url)]);
    let credential = password("ci", CANARY);
    let result = repositories()
        .list_branches(context, target(&settings, &credential), &path(), None, None, 50)
        .await;
    if let Err(error) = &result {
        assert!(!error.to_string().contains(CANARY), "{error}");
    }
    result
}

async fn delete(context: &Context, url: &str) -> Result<(), ProviderError> {
    let settings = settings(&[("url", url)]);
    let credential = password("ci", CANARY);
    repositories()
        .delete_branch(context, target(&settings, &credential), &path(), "x", Some(A))
        .await
}

/// Returns what listing says when every request gets this answer.
async fn list_with(
    respond: impl Fn() -> Response + Clone + Send + Sync + 'static,
) -> ProviderError {
    let server = StandIn::start(move |_, _| respond()).await;
    list(&context(), &server.url).await.unwrap_err()
}

fn v0() -> Response {
    advertisement(
        "git-upload-pack",
        &[
            "# service=git-upload-pack\n",
            "0000",
            &format!("{A} HEAD\0symref=HEAD:refs/heads/main\n"),
            &format!("{A} refs/heads/main\n"),
            "0000",
        ],
    )
}

#[tokio::test]
async fn a_server_of_the_old_protocol_is_understood() {
    let server = StandIn::start(|_, _| v0()).await;
    let page = list(&context(), &server.url).await.unwrap();
    assert_eq!((page.items[0].name.as_str(), page.items[0].is_default), ("main", Some(true)));
    let expected = ["GET /team/app/info/refs?service=git-upload-pack +auth"];
    assert_eq!(server.requests(), expected);
}

#[tokio::test]
async fn refusals_are_sorted_and_never_repeat_the_password() {
    for status in [401, 403] {
        let error = list_with(move || answer(status, &[], format!("no: {CANARY}"))).await;
        assert_eq!(error, ProviderError::Rejected { reason: "no: ****".into() });
    }
    let error = list_with(|| answer(404, &[], "")).await;
    assert_eq!(error, ProviderError::NotFound { what: "repository `team/app`".into() });
    let error = list_with(|| answer(429, &[("retry-after", "7")], "")).await;
    assert_eq!(error, ProviderError::RateLimited { retry_after: Some(Duration::from_secs(7)) });
    let error = list_with(|| answer(500, &[], "")).await;
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");
    let error = list_with(|| answer(400, &[], "what?")).await;
    assert!(matches!(error, ProviderError::Unexpected { .. }), "{error}");
}

#[tokio::test]
async fn a_short_failure_is_tried_again_and_a_long_one_is_not_hammered() {
    let server =
        StandIn::start(|count, _| if count < 2 { answer(503, &[], "") } else { v0() }).await;
    assert!(list(&context(), &server.url).await.is_ok());
    assert_eq!(server.requests().len(), 3);
    let server = StandIn::start(|_, _| answer(502, &[], "")).await;
    let error = list(&context(), &server.url).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn pages_garbage_and_cut_answers_are_no_git_server() {
    for body in ["<html>Sign in</html>", ""] {
        let error = list_with(move || answer(200, &[("content-type", "text/html")], body)).await;
        assert!(matches!(error, ProviderError::Unexpected { .. }), "{error}");
    }
    for lines in [
        &["<html>"][..],
        &["version 2\n"],
        &["version 2\n", "0000"],
        &[&format!("{A} refs/heads/main\n")],
        &["xyz refs/heads/main\n", "0000"],
    ] {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let server = StandIn::start(move |_, _| {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            advertisement("git-upload-pack", &lines)
        })
        .await;
        let error = list(&context(), &server.url).await.unwrap_err();
        assert!(matches!(error, ProviderError::Unexpected { .. }), "{error}");
    }
    let error = list_with(|| {
        answer(
            200,
            &[("content-type", "application/x-git-upload-pack-advertisement")],
            "zzzz not packets",
        )
    })
    .await;
    assert!(matches!(error, ProviderError::Unexpected { .. }), "{error}");
}

#[tokio::test]
async fn the_servers_own_error_line_is_told() {
    let error =
        list_with(|| advertisement("git-upload-pack", &["ERR Repository not found.\n", "0000"]))
            .await;
    assert!(matches!(error, ProviderError::NotFound { .. }), "{error}");
    let error =
        list_with(|| advertisement("git-upload-pack", &["ERR access denied\n", "0000"])).await;
    assert_eq!(error, ProviderError::Rejected { reason: "access denied".into() });
}

#[tokio::test]
async fn endless_and_oversized_answers_are_cut_off() {
    let endless = || {
        let chunk = Bytes::from(vec![b'0'; 1 << 16]);
        let stream = futures::stream::repeat_with(move || Ok::<_, Infallible>(chunk.clone()));
        answer(
            200,
            &[("content-type", "application/x-git-upload-pack-advertisement")],
            Body::from_stream(stream),
        )
    };
    let error = list_with(endless).await;
    assert!(matches!(error, ProviderError::Unexpected { .. }), "{error}");
    let endless_refusal = || {
        let stream = futures::stream::repeat_with(|| Ok::<_, Infallible>("no ".repeat(9_999)));
        answer(401, &[], Body::from_stream(stream))
    };
    let error = list_with(endless_refusal).await;
    let ProviderError::Rejected { reason } = &error else { panic!("{error}") };
    assert!(reason.chars().count() <= 301);
    let many = || {
        let lines: Vec<String> =
            (0..260_000).map(|number| format!("{A} refs/heads/{number}\n")).collect();
        let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines.push("0000");
        advertisement("git-upload-pack", &lines)
    };
    let error = list_with(many).await;
    let ProviderError::Unexpected { reason } = &error else { panic!("{error}") };
    assert!(reason.contains("more than"), "{reason}");
}

#[tokio::test]
async fn slow_servers_are_given_up_within_the_time() {
    let context = context_allowing(&["127.0.0.1"], Duration::from_millis(400));
    // One that accepts and says nothing, and one that starts an answer and never ends it.
    for greeting in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-git-upload-pack-advertisement\r\n\
         content-length: 100\r\n\r\n0010",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let mut streams = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(greeting.as_bytes()).await.unwrap();
                streams.push(stream);
            }
        });
        let start = Instant::now();
        let error = list(&context, &url).await.unwrap_err();
        assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5));
        server.abort();
    }
}

#[tokio::test]
async fn closed_ports_other_protocols_and_cut_answers_are_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = list(&context(), &url).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");
    for said in [
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-git-upload-pack-advertisement\r\n\
         content-length: 100\r\n\r\n0010",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                stream.write_all(said.as_bytes()).await.unwrap();
            }
        });
        let error = list(&context(), &url).await.unwrap_err();
        assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");
        server.abort();
    }
}

#[tokio::test]
async fn the_gate_is_passed_by_nothing_that_is_not_allowed() {
    let server = StandIn::start(|_, _| v0()).await;
    let port = server.url.rsplit(':').next().unwrap();
    let closed = context_allowing(&["10.0.0.0/8"], Duration::from_secs(5));
    for host in
        ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "127.0.0.1."]
    {
        let error = list(&closed, &format!("http://{host}:{port}")).await.unwrap_err();
        let ProviderError::Misconfigured { field, reason } = &error else {
            panic!("{host}: {error}")
        };
        assert_eq!(field, "url");
        assert!(reason.contains("--allow-address"), "{reason}");
    }
    let wide_open = context_allowing(&["0.0.0.0/0", "::/0"], Duration::from_secs(5));
    for host in ["169.254.169.254", "[fe80::1]", "0.0.0.0", "[::ffff:169.254.169.254]"] {
        let error = list(&wide_open, &format!("http://{host}:{port}")).await.unwrap_err();
        assert!(error.to_string().contains("refused always"), "{host}: {error}");
    }
    assert!(server.requests().is_empty(), "{:?}", server.requests());
    let by_name = context_allowing(&["localhost"], Duration::from_secs(5));
    assert!(list(&by_name, &format!("http://localhost:{port}")).await.is_ok());
}

#[tokio::test]
async fn verify_is_not_fooled_by_a_server_that_says_yes_to_everybody() {
    let server = StandIn::start(|_, line| {
        if line.contains("receive-pack") { answer(403, &[], "no pushing") } else { v0() }
    })
    .await;
    let settings = settings(&[("url", &server.url), ("verify_repository", "team/app")]);
    let credential = password("ci", CANARY);
    let error = git().verify(&context(), target(&settings, &credential)).await.unwrap_err();
    let ProviderError::Misconfigured { field, reason } = &error else { panic!("{error}") };
    assert_eq!(field, "verify_repository");
    assert!(reason.contains("anybody may read"), "{reason}");

    let server = StandIn::start(|_, line| {
        if line.contains("receive-pack") && !line.contains("+auth") {
            answer(401, &[], "")
        } else if line.contains("receive-pack") {
            advertisement(
                "git-receive-pack",
                &[&format!("{A} refs/heads/x\0 report-status\n"), "0000"],
            )
        } else {
            v0()
        }
    })
    .await;
    let settings =
        super::world::settings(&[("url", &server.url), ("verify_repository", "team/app")]);
    let yes = git().verify(&context(), target(&settings, &credential)).await.unwrap();
    assert!(yes.contains("can be pushed to"), "{yes}");
}

/// A server whose branch `x` is at `before`, and at `after` once a deletion was refused.
async fn receiver(
    after: &'static str,
    capabilities: &'static str,
    report: &'static [&'static str],
) -> StandIn {
    StandIn::start(move |count, line| {
        if line.starts_with("POST") {
            let headers = [("content-type", "application/x-git-receive-pack-result")];
            return answer(200, &headers, packets(report));
        }
        let tip = if count == 0 { A } else { after };
        let first = format!("{tip} refs/heads/x\0 {capabilities}\n");
        advertisement("git-receive-pack", &["# service=git-receive-pack\n", "0000", &first, "0000"])
    })
    .await
}

#[tokio::test]
async fn a_lost_race_is_told_from_a_refusal() {
    const NO: &[&str] = &["unpack ok\n", "ng refs/heads/x failed to update ref\n", "0000"];
    let server = receiver(B, "report-status delete-refs", NO).await;
    let error = delete(&context(), &server.url).await.unwrap_err();
    assert_eq!(error, ProviderError::Moved { name: "x".into(), actual: B.into() });
    let server = receiver(A, "report-status delete-refs", NO).await;
    let error = delete(&context(), &server.url).await.unwrap_err();
    assert_eq!(error, ProviderError::Refused { reason: "failed to update ref".into() });
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_cannot_delete_or_report() {
    for capabilities in ["report-status", "delete-refs", ""] {
        let server = receiver(A, capabilities, &["0000"]).await;
        assert!(delete(&context(), &server.url).await.is_err());
        assert!(!server.requests().iter().any(|line| line.starts_with("POST")), "{capabilities}");
    }
}

#[tokio::test]
async fn a_deletion_is_sent_once_and_an_unclear_answer_is_no_success() {
    let server = receiver(A, "report-status delete-refs", &["unpack ok\n", "0000"]).await;
    let error = delete(&context(), &server.url).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unexpected { .. }), "{error}");
    let server = StandIn::start(|_, line| {
        if line.starts_with("POST") {
            return answer(503, &[], "");
        }
        let first = format!("{A} refs/heads/x\0 report-status delete-refs\n");
        advertisement("git-receive-pack", &[&first, "0000"])
    })
    .await;
    let error = delete(&context(), &server.url).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");
    assert_eq!(server.requests().iter().filter(|line| line.starts_with("POST")).count(), 1);
}
