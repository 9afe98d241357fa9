//! The type `git` over SSH, against OpenSSH's server, and against servers that are none.

use std::time::{Duration, Instant};

use keyferry_domain::material::Material;
use keyferry_domain::operation::{Access, Operation, RepositoryPath};
use keyferry_providers::ProviderError;
use keyferry_testkit::children::{command, run};
use keyferry_testkit::peers::git_ssh::{GitSsh, KeyPair, PROGRAMS};
use keyferry_testkit::{Scratch, require};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::world::{context, context_allowing, git, repositories, settings, ssh_key, target};

struct Peer {
    server: GitSsh,
    key: KeyPair,
    scratch: Scratch,
}

fn peer() -> Option<Peer> {
    if !require(PROGRAMS) {
        return None;
    }
    let scratch = Scratch::new().unwrap();
    let server = GitSsh::start().unwrap();
    let key = KeyPair::generate(scratch.path(), "key").unwrap();
    server.authorize(&key.public_line().unwrap()).unwrap();
    server.create_repository("team/app").unwrap();
    Some(Peer { server, key, scratch })
}

fn path(text: &str) -> RepositoryPath {
    text.parse().unwrap()
}

fn is_misconfigured(error: &ProviderError, expected: &str) -> bool {
    matches!(error, ProviderError::Misconfigured { field, .. } if field == expected)
}

#[tokio::test]
async fn branches_are_listed_and_deleted() {
    let Some(peer) = peer() else { return };
    let hosts = peer.server.known_hosts_line().unwrap();
    let settings = settings(&[("url", &peer.server.url()), ("known_hosts", &hosts)]);
    let credential = ssh_key(&peer.key.private_text().unwrap());
    let target = target(&settings, &credential);
    let page = repositories()
        .list_branches(&context(), target, &path("team/app"), None, None, 50)
        .await
        .unwrap();
    let names: Vec<_> = page.items.iter().map(|branch| branch.name.as_str()).collect();
    assert_eq!(names, ["feature/login", "main"]);
    assert_eq!(page.items[1].is_default, Some(true));
    let tip = page.items[0].commit.clone();
    let main = page.items[1].commit.clone();

    let delete = |expected: String| async move {
        repositories()
            .delete_branch(&context(), target, &path("team/app"), "feature/login", Some(&expected))
            .await
    };
    let error = delete(main).await.unwrap_err();
    assert_eq!(error, ProviderError::Moved { name: "feature/login".into(), actual: tip.clone() });
    delete(tip).await.unwrap();
    assert_eq!(peer.server.tip("team/app", "feature/login").unwrap(), None);
    let error = repositories()
        .delete_branch(&context(), target, &path("team/app"), "main", None)
        .await
        .unwrap_err();
    assert!(matches!(error, ProviderError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn verify_needs_the_key_and_names_a_missing_repository() {
    let Some(peer) = peer() else { return };
    let hosts = peer.server.known_hosts_line().unwrap();
    let url = peer.server.url();
    let plain = settings(&[("url", &url), ("known_hosts", &hosts)]);
    let named =
        settings(&[("url", &url), ("known_hosts", &hosts), ("verify_repository", "team/app")]);
    let missing =
        settings(&[("url", &url), ("known_hosts", &hosts), ("verify_repository", "team/none")]);
    let right = ssh_key(&peer.key.private_text().unwrap());
    let other = KeyPair::generate(peer.scratch.path(), "other").unwrap();
    let wrong = ssh_key(&other.private_text().unwrap());

    let yes = git().verify(&context(), target(&plain, &right)).await.unwrap();
    assert!(yes.starts_with("signed in to `127.0.0.1`"), "{yes}");
    let yes = git().verify(&context(), target(&named, &right)).await.unwrap();
    assert_eq!(yes, "repository `team/app` can be read");
    let error = git().verify(&context(), target(&missing, &right)).await.unwrap_err();
    assert_eq!(error, ProviderError::NotFound { what: "repository `team/none`".into() });
    for settings in [&plain, &named] {
        let error = git().verify(&context(), target(settings, &wrong)).await.unwrap_err();
        assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
    }
    peer.server.revoke_all().unwrap();
    let error = git().verify(&context(), target(&plain, &right)).await.unwrap_err();
    assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
}

#[tokio::test]
async fn a_host_key_that_is_not_known_is_refused_before_signing_in() {
    let Some(peer) = peer() else { return };
    let credential = ssh_key(&peer.key.private_text().unwrap());
    let line = peer.server.known_hosts_line().unwrap();
    let name = line.split(' ').next().unwrap();
    let other = KeyPair::generate(peer.scratch.path(), "other").unwrap().public_line().unwrap();
    for hosts in [
        format!("{name} {other}\n"),
        format!("127.0.0.1 {}", line.split_once(' ').unwrap().1),
        format!("@cert-authority {line}"),
        format!("{line}@revoked {line}"),
        format!("{name} ssh-ed25519 AAAA\n"),
        "# nothing\n".to_owned(),
    ] {
        let settings = settings(&[("url", &peer.server.url()), ("known_hosts", &hosts)]);
        let error = git().verify(&context(), target(&settings, &credential)).await.unwrap_err();
        assert!(is_misconfigured(&error, "known_hosts"), "{hosts}: {error}");
    }
    assert!(!peer.server.log().contains("Accepted publickey"), "{}", peer.server.log());
}

#[tokio::test]
async fn a_hashed_known_host_is_accepted() {
    let Some(peer) = peer() else { return };
    let hosts =
        peer.scratch.write("hosts", peer.server.known_hosts_line().unwrap(), 0o600).unwrap();
    run(command("ssh-keygen").arg("-q").arg("-H").arg("-f").arg(&hosts)).unwrap();
    let hashed = std::fs::read_to_string(&hosts).unwrap();
    assert!(hashed.starts_with("|1|"), "{hashed}");
    let settings = settings(&[("url", &peer.server.url()), ("known_hosts", &hashed)]);
    let credential = ssh_key(&peer.key.private_text().unwrap());
    git().verify(&context(), target(&settings, &credential)).await.unwrap();
}

#[tokio::test]
async fn ecdsa_keys_work_and_others_are_refused_with_a_reason() {
    let Some(peer) = peer() else { return };
    let hosts = peer.server.known_hosts_line().unwrap();
    let settings = settings(&[("url", &peer.server.url()), ("known_hosts", &hosts)]);
    let make = |name: &str, arguments: &[&str]| {
        let private = peer.scratch.join(name);
        run(command("ssh-keygen").args(["-q", "-f"]).arg(&private).args(arguments)).unwrap();
        let public = std::fs::read_to_string(private.with_extension("pub")).unwrap();
        peer.server.authorize(public.trim()).unwrap();
        ssh_key(&std::fs::read_to_string(private).unwrap())
    };
    let ecdsa = make("ecdsa", &["-t", "ecdsa", "-b", "384", "-N", ""]);
    git().verify(&context(), target(&settings, &ecdsa)).await.unwrap();
    for (credential, hint) in [
        (make("locked", &["-t", "ed25519", "-N", "a passphrase"]), "passphrase"),
        (ssh_key("not a key"), "PEM"),
    ] {
        let error = git().verify(&context(), target(&settings, &credential)).await.unwrap_err();
        assert!(is_misconfigured(&error, "private_key"), "{error}");
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[tokio::test]
async fn a_lease_carries_key_hosts_and_the_repositorys_address() {
    let url = "ssh://deploy@git.example.com:2222/srv";
    let settings = settings(&[("url", url), ("known_hosts", "[git.example.com]:2222 x y")]);
    let credential = ssh_key("the key");
    let operation = Operation::Git { repository: Some(path("team/app")), access: Access::Read };
    let target = target(&settings, &credential);
    let plan = git().plan(target, &operation, "kf-1").unwrap();
    let issued =
        git().issue(&context(), target, &operation, &plan, Duration::from_mins(1)).await.unwrap();
    let Material::SshKey { username, known_hosts, url, .. } = issued.material else { panic!() };
    assert_eq!(username, "deploy");
    assert!(known_hosts.starts_with("[git.example.com]"));
    assert_eq!(url.as_deref(), Some("ssh://deploy@git.example.com:2222/srv/team/app"));
}

#[tokio::test]
async fn servers_that_do_not_speak_ssh_are_unavailable_within_the_time() {
    let Some(peer) = peer() else { return };
    let credential = ssh_key(&peer.key.private_text().unwrap());
    let line = peer.server.known_hosts_line().unwrap();
    let key = line.split_once(' ').unwrap().1;
    for (name, chunk, is_endless) in [
        ("silent", &b""[..], true),
        ("web", b"HTTP/1.1 400 Bad Request\r\n\r\n", false),
        ("endless line", &[b'x'; 4096], true),
        ("endless lines", b"hello\r\n", true),
        ("garbage after greeting", b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff", false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let chunk = chunk.to_vec();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            while stream.write_all(&chunk).await.is_ok() && is_endless {
                if chunk.is_empty() {
                    std::future::pending::<()>().await;
                }
            }
        });
        let settings = settings(&[
            ("url", &format!("ssh://127.0.0.1:{port}/")),
            ("known_hosts", &format!("[127.0.0.1]:{port} {key}")),
        ]);
        let context = context_allowing(&["127.0.0.1"], Duration::from_millis(700));
        let start = Instant::now();
        let error = git().verify(&context, target(&settings, &credential)).await.unwrap_err();
        assert!(matches!(error, ProviderError::Unavailable { .. }), "{name}: {error}");
        assert!(start.elapsed() < Duration::from_secs(5), "{name}");
        server.abort();
    }
}

#[tokio::test]
async fn a_server_that_stalls_in_the_handshake_is_hung_up_on() {
    let Some(peer) = peer() else { return };
    let credential = ssh_key(&peer.key.private_text().unwrap());
    let line = peer.server.known_hosts_line().unwrap();
    let key = line.split_once(' ').unwrap().1;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await
    });
    let settings = settings(&[
        ("url", &format!("ssh://127.0.0.1:{port}/")),
        ("known_hosts", &format!("[127.0.0.1]:{port} {key}")),
    ]);
    let context = context_allowing(&["127.0.0.1"], Duration::from_millis(300));
    let error = git().verify(&context, target(&settings, &credential)).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");
    // The end arrives: no task keeps the connection behind the caller's back.
    let end = tokio::time::timeout(Duration::from_secs(5), server).await;
    assert!(end.is_ok(), "the connection is still open");
}

#[tokio::test]
async fn the_gate_holds_for_ssh_too() {
    let settings = settings(&[
        ("url", "ssh://127.0.0.1:1/"),
        (
            "known_hosts",
            "[127.0.0.1]:1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
        ),
    ]);
    let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    let credential = ssh_key(key);
    let context = context_allowing(&[], Duration::from_secs(5));
    let error = git().verify(&context, target(&settings, &credential)).await.unwrap_err();
    assert!(is_misconfigured(&error, "url"), "{error}");
    assert!(error.to_string().contains("--allow-address"), "{error}");
}
