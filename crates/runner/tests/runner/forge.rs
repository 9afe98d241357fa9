//! Merges and deletions by a service's own calls, through the server.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use keyferry_api::repositories::{BranchMerged, DeleteBranch, MergeBranch, MergeStrategy};
use keyferry_api::runner::FinishJob;
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::run::JobState;
use keyferry_testkit::peers::git_http::{self, GitHttp};
use keyferry_testkit::require;

use crate::server::{Server, assert_succeeded, lost, problem, run_one};

const PASSWORD: &str = "correct-horse-battery";

struct Forge {
    git: GitHttp,
    server: Server,
    url: String,
}

impl Forge {
    async fn start() -> Option<Self> {
        if !require(git_http::PROGRAMS) {
            return None;
        }
        let git = GitHttp::start(PASSWORD).unwrap();
        let url = git.create_repository("team/app").unwrap();
        let server = Server::start().await;
        server.give("code", git_http::USER, PASSWORD);
        Some(Self { git, server, url })
    }

    async fn run(&self, step: &str, with: &str) -> (FinishJob, String) {
        self.run_steps(&format!(
            "          one:\n            step: {step}\n            with: {with}\n"
        ))
        .await
    }

    async fn run_steps(&self, steps: &str) -> (FinishJob, String) {
        let yaml = format!(
            "sources:\n  app:\n    type: git\n    endpoint: {}\n    branch: main\n    certificate: {{type: serviceConnection, serviceConnection: code}}\ndefaultWorkspace: app\nstages:\n  s:\n    jobs:\n      j:\n        steps:\n{steps}",
            self.url
        );
        let address = format!("127.0.0.1:{}/git", self.git.port());
        run_one(&self.server, &yaml, &[("code", "gitea", &address)]).await
    }

    fn tip(&self, branch: &str) -> String {
        self.git.tip("team/app", branch).unwrap().unwrap()
    }

    fn reference(&self, branch: &str) -> PathBuf {
        self.git.repositories().join("team/app.git/refs/heads").join(branch)
    }
}

fn merged(commit: Option<&str>) -> Response {
    Json(BranchMerged { commit: commit.map(str::to_owned) }).into_response()
}

fn missing() -> Response {
    problem(StatusCode::NOT_FOUND, "not_found_at_service", "there is no such branch")
}

const MERGE: &str = "{from: feature/login, into: main, strategy: squash, message: 'for $BUILD_NUMBER', deleteSource: true}";

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_can_merge_is_asked_to_and_to_delete_what_it_saw() {
    let Some(forge) = Forge::start().await else { return };
    let (main, feature) = (forge.tip("main"), forge.tip("feature/login"));
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let asked = Arc::clone(&seen);
    let expected = feature.clone();
    forge.server.on_merge(move |body: MergeBranch| {
        assert_eq!((body.repository.as_str(), body.from.as_str()), ("team/app", "feature/login"));
        assert_eq!((body.into.as_str(), body.strategy), ("main", Some(MergeStrategy::Squash)));
        assert_eq!(body.message.as_deref(), Some("for 7"));
        assert_eq!(body.expected_commit.as_deref(), Some(expected.as_str()));
        asked.lock().unwrap().push("merge".to_owned());
        merged(Some("the-new-commit"))
    });
    let asked = Arc::clone(&seen);
    forge.server.on_deletion(move |query: DeleteBranch| {
        assert_eq!(query.expected_commit.as_deref(), Some(feature.as_str()));
        asked.lock().unwrap().push(format!("delete {}", query.branch));
        StatusCode::NO_CONTENT.into_response()
    });
    let (finished, log) = forge.run("MergeBranch", MERGE).await;
    assert_succeeded(&finished, &log);
    assert_eq!(*seen.lock().unwrap(), ["merge", "delete feature/login"]);
    assert!(log.contains("merged feature/login into main at the-new-commit"), "{log}");
    // Nothing was pushed beside the service's back.
    assert_eq!(forge.tip("main"), main);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_at_the_service_lists_its_paths_and_is_not_tried_again() {
    let Some(forge) = Forge::start().await else { return };
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    forge.server.on_merge(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        problem(StatusCode::CONFLICT, "merge_conflict", "the branches conflict")
    });
    let steps = "          prepare:\n            step: Command\n            with: {connections: {code: code}, run: 'git config --global user.email a@b; git config --global user.name a; git checkout -q -b other; echo one > both.txt; git add .; git commit -qm one; git push -q origin other; git checkout -q main; echo two > both.txt; git add .; git commit -qm two; git push -q origin main'}\n          merge:\n            step: MergeBranch\n            with: {from: other, into: main}\n";
    let (finished, log) = forge.run_steps(steps).await;
    assert_eq!(finished.state, JobState::Failed, "{log}");
    let reason = finished.reason.unwrap();
    assert!(
        reason.contains("conflicts with `main` in 1 path: `both.txt`; nothing was changed"),
        "{reason}"
    );
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_told_also_where_its_paths_cannot_be_found() {
    let Some(forge) = Forge::start().await else { return };
    let reference = forge.reference("feature/login");
    forge.server.on_merge(move |_| {
        // Gone before anybody can look.
        let _ = std::fs::remove_file(&reference);
        problem(StatusCode::CONFLICT, "merge_conflict", "the branches conflict")
    });
    let (finished, log) = forge.run("MergeBranch", "{from: feature/login, into: main}").await;
    assert_eq!(finished.state, JobState::Failed, "{log}");
    let reason = finished.reason.unwrap();
    assert!(reason.contains("the branches conflict (merge_conflict"), "{reason}");
    assert!(log.contains("the paths in conflict are not known: there is no branch"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_by_the_service_reads_and_never_writes_with_git() {
    let Some(forge) = Forge::start().await else { return };
    forge.server.on_merge(|_| merged(Some("the-new-commit")));
    let (finished, log) = forge.run("MergeBranch", "{from: feature/login, into: main}").await;
    assert_succeeded(&finished, &log);
    forge.server.seen("01", |seen| {
        let reads =
            Operation::Git { repository: Some("team/app".parse().unwrap()), access: Access::Read };
        assert!(!seen.leases.is_empty());
        assert!(seen.leases.iter().all(|lease| *lease == reads), "{:?}", seen.leases);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_only_the_service_sees_is_told_in_its_words() {
    let Some(forge) = Forge::start().await else { return };
    forge.server.on_merge(|_| {
        problem(StatusCode::CONFLICT, "merge_conflict", "the branches conflict in a.txt")
    });
    let (finished, log) = forge.run("MergeBranch", "{from: feature/login, into: main}").await;
    assert_eq!(finished.state, JobState::Failed, "{log}");
    assert!(finished.reason.unwrap().contains("the branches conflict in a.txt (merge_conflict"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_whose_answer_got_lost_is_found_done() {
    let Some(forge) = Forge::start().await else { return };
    let feature = forge.tip("feature/login");
    let reference = forge.reference("main");
    let calls = Arc::new(AtomicUsize::new(0));
    let (count, commit) = (Arc::clone(&calls), feature.clone());
    forge.server.on_merge(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        // Done, and then the answer goes nowhere.
        std::fs::write(&reference, format!("{commit}\n")).unwrap();
        lost()
    });
    let (finished, log) = forge.run("MergeBranch", "{from: feature/login, into: main}").await;
    assert_succeeded(&finished, &log);
    assert!(log.contains(&format!("merged feature/login into main at {feature}")), "{log}");
    assert_eq!(calls.load(Ordering::SeqCst), 1, "it is not merged twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_of_a_branch_that_moved_is_made_with_the_new_tip() {
    let Some(forge) = Forge::start().await else { return };
    let (main, reference) = (forge.tip("main"), forge.reference("feature/login"));
    let expected: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let seen = Arc::clone(&expected);
    let moved = main.clone();
    forge.server.on_merge(move |body: MergeBranch| {
        let mut seen = seen.lock().unwrap();
        seen.push(body.expected_commit);
        if seen.len() > 1 {
            return merged(None);
        }
        std::fs::write(&reference, format!("{moved}\n")).unwrap();
        problem(StatusCode::CONFLICT, "branch_moved", "the branch moved")
    });
    let before = forge.tip("feature/login");
    let (finished, log) = forge.run("MergeBranch", "{from: feature/login, into: main}").await;
    assert_succeeded(&finished, &log);
    assert_eq!(*expected.lock().unwrap(), [Some(before), Some(main)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_never_answered_end_at_last() {
    let Some(forge) = Forge::start().await else { return };
    let calls = Arc::new(AtomicUsize::new(0));
    for step in ["MergeBranch", "DeleteBranch"] {
        let count = Arc::clone(&calls);
        forge.server.on_merge(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            lost()
        });
        let count = Arc::clone(&calls);
        forge.server.on_deletion(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            lost()
        });
        let with = match step {
            "MergeBranch" => "{from: feature/login, into: main}",
            _ => "{branch: feature/login}",
        };
        let (finished, log) = forge.run(step, with).await;
        assert_eq!(finished.state, JobState::Failed, "{log}");
        assert!(finished.reason.unwrap().contains("was not "), "{log}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_whose_answer_got_lost_is_no_failure() {
    let Some(forge) = Forge::start().await else { return };
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    forge.server.on_deletion(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 { lost() } else { missing() }
    });
    let (finished, log) = forge.run("DeleteBranch", "{branch: feature/login}").await;
    assert_succeeded(&finished, &log);
    assert!(log.contains("deleted the branch feature/login"), "{log}");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_was_never_there_is_a_failure() {
    let Some(forge) = Forge::start().await else { return };
    forge.server.on_deletion(|_| missing());
    let (finished, log) = forge.run("DeleteBranch", "{branch: feature/login}").await;
    assert_eq!(finished.state, JobState::Failed, "{log}");
    assert!(finished.reason.unwrap().contains("was not deleted: there is no such branch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_not_there_is_not_taken_for_a_deleted_branch() {
    let Some(forge) = Forge::start().await else { return };
    let calls = Arc::new(AtomicUsize::new(0));
    forge.server.on_deletion(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => lost(),
        _ => problem(StatusCode::NOT_FOUND, "not_found", "there is no such connection"),
    });
    let (finished, log) = forge.run("DeleteBranch", "{branch: feature/login}").await;
    assert_eq!(finished.state, JobState::Failed, "{log}");
}
