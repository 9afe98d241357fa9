//! RSA keys over SSH, on both sides, against OpenSSH's server: SHA-2 signatures or none.

use keyferry_providers::ProviderError;
use keyferry_testkit::peers::git_ssh::{GitSsh, KeyPair, PROGRAMS};
use keyferry_testkit::{Scratch, require};

use super::world::{context, git, repositories, settings, ssh_key, target};

const RSA: &[&str] = &["-t", "rsa", "-b", "2048"];

/// Makes a key pair and lets it in.
fn authorized(server: &GitSsh, scratch: &Scratch, name: &str, kind: &[&str]) -> KeyPair {
    let key = KeyPair::generate_as(scratch.path(), name, kind).unwrap();
    server.authorize(&key.public_line().unwrap()).unwrap();
    key
}

async fn list_branches(
    server: &GitSsh,
    known_hosts: &str,
    key: &KeyPair,
) -> Result<Vec<String>, ProviderError> {
    let settings = settings(&[("url", &server.url()), ("known_hosts", known_hosts)]);
    let credential = ssh_key(&key.private_text().unwrap());
    let path = "team/app".parse().unwrap();
    let page = repositories()
        .list_branches(&context(), target(&settings, &credential), &path, None, None, 50)
        .await?;
    Ok(page.items.into_iter().map(|branch| branch.name).collect())
}

fn assert_misconfigured(error: &ProviderError, expected: &str, part: &str) {
    assert!(
        matches!(error, ProviderError::Misconfigured { field, .. } if field == expected),
        "{error}"
    );
    assert!(error.to_string().contains(part), "{error}");
}

#[tokio::test]
async fn branches_are_listed_with_an_rsa_key_in_each_of_its_formats() {
    if !require(PROGRAMS) {
        return;
    }
    let scratch = Scratch::new().unwrap();
    let server = GitSsh::start().unwrap();
    server.create_repository("team/app").unwrap();
    let hosts = server.known_hosts_line().unwrap();
    for (name, kind, begin) in [
        ("openssh", &["-t", "rsa", "-b", "3072"][..], "BEGIN OPENSSH PRIVATE KEY"),
        ("pkcs1", &["-t", "rsa", "-b", "2048", "-m", "PEM"], "BEGIN RSA PRIVATE KEY"),
        ("pkcs8", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"], "BEGIN PRIVATE KEY"),
    ] {
        let key = authorized(&server, &scratch, name, kind);
        assert!(key.private_text().unwrap().contains(begin), "{name}");
        let names = list_branches(&server, &hosts, &key).await.unwrap();
        assert_eq!(names, ["feature/login", "main"], "{name}");
    }
}

#[tokio::test]
async fn a_short_rsa_key_is_refused_before_anybody_is_asked() {
    if !require(PROGRAMS) {
        return;
    }
    let scratch = Scratch::new().unwrap();
    let host = KeyPair::generate_as(scratch.path(), "host", RSA).unwrap().public_line().unwrap();
    // Nothing listens there, so whoever asked would find it unavailable.
    let hosts = format!("[127.0.0.1]:1 {host}");
    let settings = settings(&[("url", "ssh://127.0.0.1:1/"), ("known_hosts", &hosts)]);
    for (name, kind) in [
        ("short", &["-t", "rsa", "-b", "1024"][..]),
        ("short_pem", &["-t", "rsa", "-b", "1024", "-m", "PEM"]),
        ("short_pkcs8", &["-t", "rsa", "-b", "1024", "-m", "PKCS8"]),
    ] {
        let key = KeyPair::generate_as(scratch.path(), name, kind).unwrap();
        let credential = ssh_key(&key.private_text().unwrap());
        let error = git().verify(&context(), target(&settings, &credential)).await.unwrap_err();
        assert_misconfigured(&error, "private_key", "RSA key of 1024 bits");
    }
}

#[tokio::test]
async fn an_rsa_host_key_is_believed_when_it_is_known_only() {
    if !require(PROGRAMS) {
        return;
    }
    let scratch = Scratch::new().unwrap();
    let server = GitSsh::start_with(RSA, "").unwrap();
    server.create_repository("team/app").unwrap();
    let key = authorized(&server, &scratch, "key", RSA);
    let line = server.known_hosts_line().unwrap();
    assert!(line.contains(" ssh-rsa "), "{line}");
    let name = line.split(' ').next().unwrap();
    let make = |file: &str, kind: &[&str]| {
        let key = KeyPair::generate_as(scratch.path(), file, kind).unwrap();
        format!("{name} {}\n", key.public_line().unwrap())
    };
    for (hosts, part) in [
        (make("changed", RSA), "shows another key"),
        (make("other_kind", &["-t", "ed25519"]), "no key of the kinds"),
        (make("short", &["-t", "rsa", "-b", "1024"]), "RSA key of 1024 bits"),
        (format!("{line}@revoked {line}"), "shows another key"),
        (line.replace("127.0.0.1", "127.0.0.2"), "no line is about"),
    ] {
        let error = list_branches(&server, &hosts, &key).await.unwrap_err();
        assert_misconfigured(&error, "known_hosts", part);
    }
    assert!(!server.log().contains("Accepted publickey"), "{}", server.log());
    let names = list_branches(&server, &line, &key).await.unwrap();
    assert_eq!(names, ["feature/login", "main"]);
}

#[tokio::test]
async fn servers_that_want_sha1_signatures_get_none() {
    if !require(PROGRAMS) {
        return;
    }
    let scratch = Scratch::new().unwrap();
    // The host proves its own key with SHA-1 only.
    let server = GitSsh::start_with(RSA, "HostKeyAlgorithms ssh-rsa").unwrap();
    let key = authorized(&server, &scratch, "key", RSA);
    let hosts = server.known_hosts_line().unwrap();
    let error = list_branches(&server, &hosts, &key).await.unwrap_err();
    assert_misconfigured(&error, "known_hosts", "SHA-2 only");
    // The host lets users in with SHA-1 only.
    let lines = "PubkeyAcceptedAlgorithms ssh-rsa";
    let server = GitSsh::start_with(RSA, lines).unwrap();
    let key = authorized(&server, &scratch, "other", RSA);
    let hosts = server.known_hosts_line().unwrap();
    let settings = settings(&[("url", &server.url()), ("known_hosts", &hosts)]);
    let credential = ssh_key(&key.private_text().unwrap());
    let error = git().verify(&context(), target(&settings, &credential)).await.unwrap_err();
    assert!(
        matches!(error, ProviderError::Misconfigured { .. } | ProviderError::Rejected { .. }),
        "{error}"
    );
    assert!(!server.log().contains("Accepted publickey"), "{}", server.log());
}
