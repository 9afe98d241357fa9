//! One command outside pipelines, with the socket that jobs have.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex};

use keyferry_runner::exec::{Exec, ExecError, exec};

use crate::server::{Server, helper_binary};

fn request(folder: &Path, script: &str) -> Exec {
    Exec {
        command: ["sh", "-c", script].map(OsString::from).to_vec(),
        connections: BTreeMap::from([("pictures".to_owned(), "images".parse().unwrap())]),
        env: BTreeMap::new(),
        lifetime_seconds: None,
        helper_binary: helper_binary(),
        path: Some("/usr/bin:/bin".into()),
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
