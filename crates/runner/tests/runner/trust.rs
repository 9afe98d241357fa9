//! Private certificate authorities: trusted at their connection's address, and nowhere else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use keyferry_domain::run::JobState;
use keyferry_runner::Settings;
use keyferry_runner::exec::{Exec, exec};
use keyferry_testkit::peers::git_http::{self, GitHttp, TLS_PROGRAMS};
use keyferry_testkit::peers::registry::{self, Registry};
use keyferry_testkit::{Authority, images, require};

use crate::server::{Running, Server, helper_binary, script};

const PASSWORD: &str = "correct-horse-battery";

/// A Git server with a certificate authority of its own.
struct Peer {
    authority: Authority,
    git: GitHttp,
    url: String,
}

impl Peer {
    fn start() -> Self {
        let authority = Authority::new().unwrap();
        let git = GitHttp::start_tls(PASSWORD, &authority).unwrap();
        let url = git.create_repository("team/app").unwrap();
        Self { authority, git, url }
    }

    /// The connection's address: everything on the server, or this one repository.
    fn address(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}/git{path}", self.git.port())
    }
}

/// Runs a script as a job of a runner that is set up like this; returns its log when it succeeds.
async fn run(
    server: &Server,
    text: &str,
    connections: &[(&str, &str, &str)],
    adjust: impl FnOnce(&mut Settings),
) -> (JobState, String) {
    let job = server.queue(&script(text), connections);
    let runner = Running::start(server, adjust);
    let finished = server.wait_for_end(&job).await;
    runner.shut_down();
    let log = server.log(&job);
    runner.ended().await.unwrap();
    (finished.state, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn git_trusts_an_authority_at_its_connections_address_only() {
    if !require(git_http::PROGRAMS) || !require(TLS_PROGRAMS) {
        return;
    }
    let (one, two) = (Peer::start(), Peer::start());
    let server = Server::start().await;
    for (name, peer) in [("one", &one), ("two", &two)] {
        server.give(name, git_http::USER, PASSWORD);
        server.trust(name, &peer.authority.certificate());
    }
    let reads = |peer: &Peer| format!("git ls-remote {} refs/heads/main", peer.url);
    let refuses = |peer: &Peer| {
        format!(
            "git ls-remote {} > out 2>&1 && exit 9; cat out; grep -qi certificate out",
            peer.url
        )
    };
    let (own, repository) = (one.address(""), one.address("/team/app"));
    let other = two.address("/team/app");

    // The other server's certificate is as good, and nobody has said that it is.
    let both = format!("{}; {}", reads(&one), refuses(&two));
    for address in [&own, &repository] {
        let (state, log) = run(&server, &both, &[("one", "git", address)], |_| ()).await;
        assert_eq!(state, JobState::Succeeded, "{log}");
    }
    // Each by its own authority.
    let both = format!("{}; {}", reads(&one), reads(&two));
    let connections = [("one", "git", own.as_str()), ("two", "git", &other)];
    let (state, log) = run(&server, &both, &connections, |_| ()).await;
    assert_eq!(state, JobState::Succeeded, "{log}");
    // The other way round neither is trusted: trust does not go from one to the other.
    let neither = format!("{}; {}", refuses(&one), refuses(&two));
    let swapped = [("two", "git", own.as_str()), ("one", "git", &other)];
    let (state, log) = run(&server, &neither, &swapped, |_| ()).await;
    assert_eq!(state, JobState::Succeeded, "{log}");
    // Beside what the operator has the jobs trust.
    let bundle = two.authority.certificate();
    let connections = [("one", "git", own.as_str())];
    let asks =
        format!("{}; git ls-remote {} 2>&1 | grep 'could not read Username'", reads(&one), two.url);
    let (state, log) = run(&server, &asks, &connections, |settings| {
        settings.ca_bundle = Some(bundle);
    })
    .await;
    assert_eq!(state, JobState::Succeeded, "{log}");
    // Two connections to one place that do not agree: nobody is trusted, and the log says why.
    let shared = [("one", "git", own.as_str()), ("two", "git", &own)];
    let (state, log) = run(&server, &refuses(&one), &shared, |_| ()).await;
    assert_eq!(state, JobState::Succeeded, "{log}");
    assert!(log.contains("`one`, `two` are all for https://127.0.0.1"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_cannot_write_whom_the_runner_trusts() {
    let server = Server::start().await;
    let authority = Authority::new().unwrap();
    server.trust("one", &authority.certificate());
    let text = "file=$(git config http.https://git.example.com.sslCAInfo)
grep -q BEGIN $file
echo x > $file && echo written || echo refused
mkdir ~/.config/containers/certs.d/evil.example.com && echo written || echo refused";
    let (state, log) =
        run(&server, text, &[("one", "gitea", "https://git.example.com")], |_| ()).await;
    assert_eq!(state, JobState::Succeeded, "{log}");
    // Where there are no namespaces, nothing keeps a job from its own files.
    if !log.contains("not in namespaces") {
        assert_eq!(log.matches("refused").count(), 2, "{log}");
        assert!(!log.contains("written"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn image_tools_trust_an_authority_for_its_connections_registry_only() {
    if !require(registry::PROGRAMS) || !require(images::PROGRAMS) || !require(TLS_PROGRAMS) {
        return;
    }
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let one = Registry::start_tls(PASSWORD, &authority).unwrap();
    let two = Registry::start_tls(PASSWORD, &other).unwrap();
    let server = Server::start().await;
    for name in ["one", "two"] {
        server.give(name, registry::USER, PASSWORD);
    }
    server.trust("one", &authority.certificate());
    let text = format!(
        "skopeo list-tags docker://{}/team/app > out 2>&1 || true
cat out; grep -q 404 out
skopeo list-tags docker://{}/team/app > out 2>&1 && exit 9
cat out; grep -q x509 out",
        one.host(),
        two.host()
    );
    let connections = [
        ("one", "private_docker_registry", one.host()),
        ("two", "private_docker_registry", two.host()),
    ];
    let connections = connections.each_ref().map(|(id, kind, host)| (*id, *kind, host.as_str()));
    let (state, log) = run(&server, &text, &connections, |_| ()).await;
    assert_eq!(state, JobState::Succeeded, "{log}");
    // With the other's authority neither is trusted.
    server.trust("one", &other.certificate());
    let text = format!(
        "skopeo list-tags docker://{}/team/app > out 2>&1 && exit 9; cat out; grep -q x509 out",
        one.host()
    );
    let (state, log) = run(&server, &text, &connections, |_| ()).await;
    assert_eq!(state, JobState::Succeeded, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_outside_pipelines_trusts_the_same() {
    if !require(git_http::PROGRAMS) || !require(TLS_PROGRAMS) {
        return;
    }
    let (one, two) = (Peer::start(), Peer::start());
    let server = Server::start().await;
    server.give("one", git_http::USER, PASSWORD);
    server.place("one", "git", &one.address(""));
    server.trust("one", &one.authority.certificate());
    let folder = tempfile::tempdir().unwrap();
    let exec_with = async |git_ca_bundle: Option<PathBuf>| {
        let text = format!(
            "git ls-remote {} >/dev/null || exit 3
             git ls-remote {} 2>&1 | grep -i certificate && exit 4
             exit 0",
            one.url, two.url
        );
        let request = Exec {
            command: ["sh", "-c", &text].map(OsString::from).to_vec(),
            connections: BTreeMap::from([("one".to_owned(), "one".parse().unwrap())]),
            env: BTreeMap::new(),
            lifetime_seconds: None,
            helper_binary: helper_binary(),
            path: Some("/usr/bin:/bin".into()),
            git_ca_bundle,
            work_folder: folder.path().to_path_buf(),
        };
        let organization = "org_01arz3ndektsv4rrffq69g5fav".parse().unwrap();
        exec(&server.client(), &organization, request, |_| ()).await.unwrap()
    };
    // The other server is refused, until the caller's own Git would trust it.
    assert_eq!(exec_with(None).await, 4);
    assert_eq!(exec_with(Some(two.authority.certificate())).await, 0);
}
