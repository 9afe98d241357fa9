//! What is left when a runner is killed, and of jobs that do not want to end.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use keyferry_api::leases::LeaseMaterial;
use keyferry_domain::secret::SecretString;

use crate::server::{Running, Server, assert_succeeded, helper_binary, script};

/// What each secret begins with; its test's mark follows, since tests run side by side.
const SECRET: &str = "hunter2-in-a-file-";

/// A runner as a process of its own.
struct Separate {
    process: Child,
    folder: tempfile::TempDir,
}

impl Separate {
    #[expect(clippy::disallowed_methods, reason = "a runner that can be killed")]
    fn start(server: &Server, isolation: &str) -> Self {
        let program = helper_binary().with_file_name("runner");
        assert!(program.exists(), "build it: cargo build -p keyferry-runner --examples");
        let folder = tempfile::Builder::new().prefix("kf").tempdir().unwrap();
        let process = std::process::Command::new(program)
            .arg(server.address())
            .arg(folder.path().join("work"))
            .arg(helper_binary())
            .arg(isolation)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, folder }
    }

    /// As SIGKILL does it: nothing can be cleaned up any more.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Separate {
    fn drop(&mut self) {
        // Also when a test fails before it comes to that.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns files of this machine's memory and of a folder with the secret in them.
fn files_with_secret(folder: &Path, mark: &str) -> Vec<PathBuf> {
    let secret = format!("{SECRET}{mark}");
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/dev/shm"), folder.to_path_buf()];
    while let Some(path) = open.pop() {
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            open.extend(entries.map(|entry| entry.path()));
        } else if metadata.is_file()
            && metadata.len() < 1_000_000
            && std::fs::read(&path).is_ok_and(|bytes| {
                bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
            })
        {
            found.push(path);
        }
    }
    found
}

async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn processes_with(text: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| {
            std::fs::read(entry.path().join("cmdline")).is_ok_and(|bytes| {
                String::from_utf8_lossy(&bytes).replace('\0', " ").contains(text)
            })
        })
        .count()
}

fn queue_holding_secret(server: &Server, mark: &str) -> String {
    let value = SecretString::from(format!("{SECRET}{mark}"));
    server.give_material(
        "settings",
        LeaseMaterial::Values {
            values: [("password".to_owned(), value.into())].into(),
            files: [].into(),
        },
    );
    let yaml = script(&format!(
        "grep -q hunter2 $SERVICE_BINDING_ROOT/db/password && echo holding; echo ====; sleep {mark}"
    ))
    .replace("with:\n", "with:\n              connections: {db: settings}\n");
    server.queue(&yaml, &[("settings", "generic", "")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_runner_leaves_nothing_of_a_job_in_namespaces() {
    let server = Server::start().await;
    let job = queue_holding_secret(&server, "98767");
    let mut runner = Separate::start(&server, "namespaces");
    server.wait_for_log(&job, "holding").await;
    // Not even while the job has it.
    assert_eq!(files_with_secret(runner.folder.path(), "98767"), Vec::<PathBuf>::new());
    runner.kill();
    wait_until("the job goes on", || processes_with("sleep 98767") == 0).await;
    assert_eq!(files_with_secret(runner.folder.path(), "98767"), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_runner_leaves_no_secret_files_without_namespaces() {
    let server = Server::start().await;
    let job = queue_holding_secret(&server, "98768");
    let mut runner = Separate::start(&server, "process");
    server.wait_for_log(&job, "holding").await;
    let before = files_with_secret(runner.folder.path(), "98768");
    assert!(!before.is_empty(), "the job has it as a file");
    runner.kill();
    wait_until("the files stay", || before.iter().all(|path| !path.exists())).await;
    wait_until("the job goes on", || processes_with("sleep 98768") == 0).await;
    assert_eq!(files_with_secret(runner.folder.path(), "98768"), Vec::<PathBuf>::new());
}

/// Leaves its parents, its session and its environment behind, and reads nothing of the job's.
const ESCAPE: &str = "env -i setsid sh -c 'cd /; env -i setsid sleep MARK >/dev/null 2>&1 </dev/null & exit 0'\n\
    until ps -e -o args= | grep -q '^sleep MARK'; do sleep 0.05; done; echo escaped";

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_erased_all_its_traces_ends_with_its_job() {
    for (use_namespaces, mark) in [(false, "98769"), (true, "98770")] {
        let server = Server::start().await;
        let job = server.queue(&script(&ESCAPE.replace("MARK", mark)), &[]);
        let _runner = Running::start(&server, |settings| settings.use_namespaces = use_namespaces);
        let finished = server.wait_for_end(&job).await;
        let log = server.log(&job);
        assert_succeeded(&finished, &log);
        assert!(log.contains("escaped"), "{log}");
        assert_eq!(processes_with(&format!("sleep {mark}")), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_jobs_background_processes_are_left_alone() {
    let server = Server::start().await;
    let first = server
        .queue(&script("(setsid sleep 98771 >/dev/null 2>&1 &)\necho ready; sleep 98772"), &[]);
    let runner = Running::start(&server, |settings| settings.use_namespaces = false);
    server.wait_for_log(&first, "ready").await;
    let second = server.queue(&script("echo hello"), &[]);
    server.wait_for_end(&second).await;
    assert_eq!(processes_with("sleep 98771"), 1);
    runner.shut_down();
    server.wait_for_end(&first).await;
    assert_eq!(processes_with("sleep 98771") + processes_with("sleep 98772"), 0);
    runner.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_whose_answer_got_lost_is_an_end() {
    let server = Server::start().await;
    server.lose_finish();
    let first = server.queue(&script("echo one"), &[]);
    let runner = Running::start(&server, |settings| settings.parallel_jobs = 1);
    server.wait_for_end(&first).await;
    // The only place is free again: the runner has taken the second answer for what it means.
    let second = server.queue(&script("echo two"), &[]);
    server.wait_for_end(&second).await;
    wait_until("the end is told again", || server.finish_calls() == 4).await;
    runner.shut_down();
    runner.ended().await.unwrap();
    assert_eq!(server.finish_calls(), 4);
}
