//! One command outside pipelines, with the socket that jobs have.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex};

use keyferry_api::leases::LeaseMaterial;
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::secret::SecretString;
use keyferry_runner::exec::{Exec, ExecError, exec};
use keyferry_testkit::peers::git_ssh::{self, GitSsh, KeyPair};
use keyferry_testkit::require;

use crate::server::{Server, helper_binary};

fn request(folder: &Path, script: &str) -> Exec {
    Exec {
        command: ["sh", "-c", script].map(OsString::from).to_vec(),
        connections: BTreeMap::from([("pictures".to_owned(), "images".parse().unwrap())]),
        env: BTreeMap::new(),
        lifetime_seconds: None,
        helper_binary: helper_binary(),
        path: Some("/usr/bin:/bin".into()),
        git_ca_bundle: None,
        work_folder: folder.to_path_buf(),
    }
}

async fn run(server: &Server, request: Exec) -> (Result<i32, ExecError>, Vec<String>) {
    let refusals = Arc::new(Mutex::new(Vec::new()));
    let organization = "org_01arz3ndektsv4rrffq69g5fav".parse().unwrap();
    let seen = Arc::clone(&refusals);
    let outcome = exec(&server.client(), &organization, request, move |refusal| {
        seen.lock().unwrap().push(refusal.code.clone());
    })
    .await;
    let refusals = refusals.lock().unwrap().clone();
    (outcome, refusals)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_access_by_name_by_helper_and_by_variable() {
    let server = Server::start().await;
    server.give("images", "bob", "hunter2-hunter2");
    let folder = tempfile::tempdir().unwrap();
    let mut request = request(
        folder.path(),
        "test \"$(keyferry ask pictures)\" = hunter2-hunter2 || exit 3
         printf images.example.com | docker-credential-keyferry get | grep -q hunter2 || exit 4
         test \"$PASSWORD\" = x-hunter2-hunter2 || exit 5
         env | grep -q kf_job && exit 6
         exit 7",
    );
    request.env.insert("PASSWORD".to_owned(), "x-${pictures.password}".to_owned());
    let (outcome, refusals) = run(&server, request).await;
    assert_eq!((outcome.unwrap(), refusals), (7, vec![]));
    assert_eq!(server.workloads_ended(), 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_beside_the_command_and_the_workload_ends() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let script = "printf images.example.com | docker-credential-keyferry get >/dev/null 2>&1";
    let (outcome, refusals) = run(&server, request(folder.path(), script)).await;
    assert_eq!(outcome.unwrap(), 1);
    assert_eq!(refusals, ["connection_not_bound"]);
    assert_eq!(server.workloads_ended(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_cannot_be_made_starts_no_command_and_ends_the_workload() {
    let server = Server::start().await;
    server.give("images", "bob", "hunter2-hunter2");
    let folder = tempfile::tempdir().unwrap();
    let ran = folder.path().join("ran");
    for (variable, text) in [("A", "${picture.password}"), ("A", "${pictures.pass}"), ("A=B", "x")]
    {
        let mut request = request(folder.path(), &format!("touch {}", ran.display()));
        request.env.insert(variable.to_owned(), text.to_owned());
        let (outcome, _) = run(&server, request).await;
        assert!(matches!(outcome, Err(ExecError::Environment { .. })), "{text}");
    }
    assert!(!ran.exists());
    assert_eq!(server.workloads_ended(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_ends_the_workload_too() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut request = request(folder.path(), "");
    request.command = vec!["/nowhere/program".into()];
    let (outcome, _) = run(&server, request).await;
    assert!(matches!(outcome, Err(ExecError::Start { .. })));
    assert_eq!(server.workloads_ended(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_a_key_for_ssh_and_no_token_of_the_caller() {
    if !require(git_ssh::PROGRAMS) {
        return;
    }
    let git = GitSsh::start().unwrap();
    let url = git.create_repository("team/app").unwrap();
    let keys = tempfile::tempdir().unwrap();
    let key = KeyPair::generate(keys.path(), "workload").unwrap();
    git.authorize(&key.public_line().unwrap()).unwrap();
    let server = Server::start().await;
    server.place("code", "git", &format!("ssh://127.0.0.1:{}/team", git.port()));
    let material = |known_hosts: String| LeaseMaterial::SshKey {
        username: git.user().to_owned(),
        private_key: SecretString::from(key.private_text().unwrap()).into(),
        known_hosts,
        url: None,
    };
    let clones = tempfile::tempdir().unwrap();
    let short = url.replace(&format!("{}@", git.user()), "");
    let script = format!(
        "test -z \"${{KEYFERRY_TOKEN+set}}\" || exit 3
         cd {folder}
         git clone -q {url} long || exit 4
         git clone -q {short} short || exit 5
         cd long && git push -q origin HEAD:refs/heads/by-exec || exit 6
         grep -r keyferry .git && exit 7
         exit 0",
        folder = clones.path().display(),
    );
    let folder = tempfile::tempdir().unwrap();
    let ask = || {
        let mut request = request(folder.path(), &script);
        request.connections = BTreeMap::from([("code".to_owned(), "code".parse().unwrap())]);
        request.env.insert("KEYFERRY_TOKEN".to_owned(), String::new());
        request
    };
    server.give_material("code", material(git.known_hosts_line().unwrap()));
    let (outcome, refusals) = run(&server, ask()).await;
    assert_eq!((outcome.unwrap(), refusals), (0, vec![]));
    assert!(git.tip("team/app", "by-exec").unwrap().is_some());
    server.seen("99", |seen| {
        assert_eq!(seen.leases, [Operation::Git { repository: None, access: Access::Write }]);
    });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something is left");

    // A server with another key than the connection's is not talked to.
    let other = KeyPair::generate(keys.path(), "other").unwrap().public_line().unwrap();
    let words: Vec<&str> = other.split(' ').collect();
    let wrong = format!("[127.0.0.1]:{} {} {}\n", git.port(), words[0], words[1]);
    server.give_material("code", material(wrong));
    std::fs::remove_dir_all(clones.path().join("long")).unwrap();
    let (outcome, _) = run(&server, ask()).await;
    assert_eq!(outcome.unwrap(), 4);
}
