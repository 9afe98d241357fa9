//! Git in jobs: check-outs, merges, deletions and tags, against real servers over HTTP and SSH.

use std::os::unix::fs::PermissionsExt as _;

use keyferry_api::leases::LeaseMaterial;
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::run::JobState;
use keyferry_domain::secret::SecretString;
use keyferry_testkit::peers::git_http::{self, GitHttp};
use keyferry_testkit::peers::git_ssh::{self, GitSsh, KeyPair};
use keyferry_testkit::require;

use crate::server::{Running, Server, assert_succeeded, run_one};

const PASSWORD: &str = "correct-horse-battery";

fn pipeline(url: &str, steps: &str) -> String {
    format!(
        "sources:\n  app:\n    type: git\n    endpoint: {url}\n    branch: main\n    certificate: {{type: serviceConnection, serviceConnection: code}}\ndefaultWorkspace: app\nstages:\n  s:\n    jobs:\n      j:\n        steps:\n{steps}"
    )
}

fn step(name: &str, step: &str, with: &str) -> String {
    format!("          {name}:\n            step: {step}\n            with: {with}\n")
}

struct Peer {
    git: GitHttp,
    server: Server,
    url: String,
}

impl Peer {
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

    fn address(&self) -> String {
        format!("127.0.0.1:{}/git", self.git.port())
    }

    async fn run(&self, steps: &str) -> (keyferry_api::runner::FinishJob, String) {
        let address = self.address();
        run_one(&self.server, &pipeline(&self.url, steps), &[("code", "git", &address)]).await
    }

    fn tip(&self, branch: &str) -> Option<String> {
        self.git.tip("team/app", branch).unwrap()
    }
}

fn git_operation(access: Access) -> Operation {
    Operation::Git { repository: Some("team/app".parse().unwrap()), access }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_cloned_for_reading_with_one_lease() {
    let Some(peer) = Peer::start().await else { return };
    let steps = step(
        "show",
        "Command",
        "{run: 'pwd; git log -1 --format=%H; echo $CI_COMMIT_SHA $CI_COMMIT_REF_NAME; git fetch -q && echo again; cat .git/config; env | grep -c battery || true'}",
    );
    let (finished, log) = peer.run(&steps).await;
    assert_succeeded(&finished, &log);
    let tip = peer.tip("main").unwrap();
    assert!(log.contains(&format!("{tip} main")) && log.contains("again"), "{log}");
    assert!(!log.contains("credential") && !log.contains(PASSWORD), "{log}");
    peer.server.seen("01", |seen| assert_eq!(seen.leases, [git_operation(Access::Read)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_fails_the_job_with_its_reason() {
    let Some(peer) = Peer::start().await else { return };
    let server = Server::start().await;
    let address = peer.address();
    let yaml = pipeline(&peer.url, &step("show", "Command", "{run: echo ran}"));
    let (finished, log) = run_one(&server, &yaml, &[("code", "git", &address)]).await;
    assert_eq!(finished.state, JobState::Failed);
    assert!(finished.reason.unwrap().contains("nobody approved this"));
    assert!(!log.contains("ran\n"), "{log}");
    server.seen("01", |seen| assert_eq!(seen.steps.last().unwrap().1, "skipped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_the_server_refuses_fails_and_is_not_shown() {
    let Some(peer) = Peer::start().await else { return };
    peer.server.give("code", git_http::USER, "stale-password-of-alice");
    let (finished, log) = peer.run(&step("show", "Command", "{run: echo ran}")).await;
    assert_eq!(finished.state, JobState::Failed);
    let reason = finished.reason.unwrap();
    assert!(reason.contains("source `app`"), "{reason}");
    assert!(!reason.contains("stale-password") && !log.contains("stale-password"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_for_another_host_is_not_used() {
    let Some(peer) = Peer::start().await else { return };
    let yaml = pipeline(&peer.url, &step("show", "Command", "{run: echo ran}"));
    let (finished, _) = run_one(&peer.server, &yaml, &[("code", "git", "git.example.com")]).await;
    assert_eq!(finished.state, JobState::Failed);
    let reason = finished.reason.unwrap();
    assert!(reason.contains("is for `git.example.com`, not for `127.0.0.1"), "{reason}");
    peer.server.seen("01", |seen| assert!(seen.leases.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_not_there_is_named() {
    let Some(peer) = Peer::start().await else { return };
    let yaml = pipeline(&peer.url, &step("show", "Command", "{run: echo ran}"))
        .replace("branch: main", "branch: mian");
    let address = peer.address();
    let (finished, _) = run_one(&peer.server, &yaml, &[("code", "git", &address)]).await;
    assert!(finished.reason.unwrap().contains("there is no branch or tag `mian`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_is_made_at_the_server_and_its_branch_deleted() {
    let Some(peer) = Peer::start().await else { return };
    let (main, feature) = (peer.tip("main").unwrap(), peer.tip("feature/login").unwrap());
    let (finished, log) = peer
        .run(&step(
            "merge",
            "MergeBranch",
            "{from: feature/login, into: main, message: 'for $BUILD_NUMBER', deleteSource: true}",
        ))
        .await;
    assert_succeeded(&finished, &log);
    let merged = peer.tip("main").unwrap();
    assert!(merged != main && merged != feature, "{log}");
    assert_eq!(peer.tip("feature/login"), None);
    assert!(log.contains(&format!("merged feature/login into main at {merged}")), "{log}");
    peer.server.seen("01", |seen| {
        assert_eq!(seen.leases, [git_operation(Access::Read), git_operation(Access::Write)]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_lists_its_paths_and_changes_nothing() {
    let Some(peer) = Peer::start().await else { return };
    let conflict = "{connections: {code: code}, run: 'git config --global user.email a@b; git config --global user.name a; git checkout -q -b other; echo one > both.txt; git add .; git commit -qm one; git push -q origin other; git checkout -q main; echo two > both.txt; git add .; git commit -qm two; git push -q origin main'}";
    let steps = step("prepare", "Command", conflict)
        + &step("merge", "MergeBranch", "{from: other, into: main}");
    let (finished, log) = peer.run(&steps).await;
    assert_eq!(finished.state, JobState::Failed, "{log}");
    let reason = finished.reason.unwrap();
    assert!(
        reason.contains("conflicts with `main` in 1 path: `both.txt`; nothing was changed"),
        "{reason}\n{log}"
    );
    let pushed = peer.tip("main").unwrap();
    assert!(!log.contains(&format!("at {pushed}")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_squash_makes_one_commit_and_a_second_merge_has_nothing_to_do() {
    let Some(peer) = Peer::start().await else { return };
    let steps =
        step("squash", "MergeBranch", "{from: feature/login, into: main, strategy: squash}")
            + &step(
                "forward",
                "MergeBranch",
                "{from: main, into: feature/login, strategy: fastForward}",
            );
    let before = peer.tip("feature/login").unwrap();
    let (finished, log) = peer.run(&steps).await;
    // After a squash the branches have commits of their own, so that forward is refused.
    assert_eq!(finished.state, JobState::Failed);
    assert!(finished.reason.unwrap().contains("cannot be moved forward"), "{log}");
    assert_eq!(peer.tip("feature/login").unwrap(), before);

    let steps = step("one", "MergeBranch", "{from: feature/login, into: main}")
        + &step("two", "MergeBranch", "{from: feature/login, into: main}")
        + &step("three", "MergeBranch", "{from: main, into: feature/login, strategy: fastForward}");
    let job = peer.run(&steps).await;
    // The stand-in counts jobs; only the last one's log matters here.
    assert_eq!(job.0.state, JobState::Succeeded, "{:?}", job.0.reason);
    assert_eq!(peer.tip("feature/login"), peer.tip("main"));
}

/// Moves `main` while the first push to it is being received, as somebody else would.
const RACE: &str = "#!/bin/sh\n\
    [ -e raced ] && exit 0\n\
    touch raced\n\
    unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES\n\
    export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@y GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@y\n\
    git update-ref refs/heads/main $(git commit-tree -p main -m raced main^{tree})\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_lost_a_race_is_made_again_on_the_new_tip() {
    let Some(peer) = Peer::start().await else { return };
    let hook = peer.git.repositories().join("team/app.git/hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, RACE).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let steps = step("merge", "MergeBranch", "{from: feature/login, into: main}")
        + &step(
            "show",
            "Command",
            "{run: 'git fetch -q --unshallow 2>/dev/null || git fetch -q; git log --format=%s origin/main'}",
        );
    let (finished, log) = peer.run(&steps).await;
    assert_succeeded(&finished, &log);
    assert!(log.contains("main moved in the meantime; again"), "{log}");
    assert!(log.contains("\nraced\n"), "the other's commit is lost: {log}");
    assert!(log.contains("Merge branch 'feature/login' into main"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_a_hook_is_told_and_not_tried_again() {
    let Some(peer) = Peer::start().await else { return };
    let hook = peer.git.repositories().join("team/app.git/hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho main is protected >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (finished, log) =
        peer.run(&step("merge", "MergeBranch", "{from: feature/login, into: main}")).await;
    let reason = finished.reason.unwrap();
    assert!(reason.contains("pre-receive hook declined"), "{reason}");
    assert!(reason.contains("main is protected") && !log.contains("again"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_refused_is_not_handed_out_again() {
    let Some(peer) = Peer::start().await else { return };
    peer.server.give("code", git_http::USER, "stale-password-of-alice");
    let yaml = "stages:\n  s:\n    jobs:\n      j:\n        steps:\n          one:\n            step: Command\n            with: {run: 'for i in 1 2; do git ls-remote URL 2>&1 || true; done'}\n".replace("URL", &peer.url);
    let address = peer.address();
    let (finished, log) = run_one(&peer.server, &yaml, &[("code", "git", &address)]).await;
    assert_succeeded(&finished, &log);
    assert_eq!(log.matches("Authentication failed").count(), 2, "{log}");
    // The second ask is a new lease, and would have got a credential that was replaced meanwhile.
    peer.server.seen("01", |seen| assert_eq!(seen.leases.len(), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_for_one_place_are_not_guessed_between() {
    let Some(peer) = Peer::start().await else { return };
    let address = peer.address();
    let connections = [("code", "git", address.as_str()), ("other", "git", address.as_str())];
    let yaml = "stages:\n  s:\n    jobs:\n      j:\n        steps:\n          one:\n            step: Command\n            with: {run: 'git ls-remote URL 2>&1 || true'}\n".replace("URL", &peer.url);
    let (finished, log) = run_one(&peer.server, &yaml, &connections).await;
    assert_succeeded(&finished, &log);
    assert!(log.contains("the connections `code` and `other` are both for"), "{log}");
    peer.server.seen("01", |seen| assert!(seen.leases.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_of_a_branch_that_is_not_there_names_it() {
    let Some(peer) = Peer::start().await else { return };
    let main = peer.tip("main");
    let (finished, log) = peer.run(&step("m", "MergeBranch", "{from: nowhere, into: main}")).await;
    assert!(finished.reason.as_ref().unwrap().contains("there is no branch `nowhere`"), "{log}");
    assert_eq!(peer.tip("main"), main);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_moved_is_not_deleted() {
    let Some(peer) = Peer::start().await else { return };
    let main = peer.tip("main").unwrap();
    let wrong = format!("{{branch: feature/login, expectedCommit: {main}}}");
    let (finished, log) = peer.run(&step("d", "DeleteBranch", &wrong)).await;
    assert_eq!(finished.state, JobState::Failed, "{log}");
    assert!(finished.reason.unwrap().contains("not at the expected commit"));
    let tip = peer.tip("feature/login").unwrap();
    let right = format!("{{branch: feature/login, expectedCommit: {tip}}}");
    let (finished, log) = peer.run(&step("d", "DeleteBranch", &right)).await;
    assert_succeeded(&finished, &log);
    assert_eq!(peer.tip("feature/login"), None);
    let (finished, _) = peer.run(&step("d", "DeleteBranch", &right)).await;
    assert!(finished.reason.unwrap().contains("there is no branch `feature/login`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_put_once_and_never_moved() {
    let Some(peer) = Peer::start().await else { return };
    let steps = step("a", "AddGitTag", "{tag: 'v$BUILD_NUMBER'}")
        + &step("b", "AddGitTag", "{tag: v8, message: release}")
        + &step("c", "Command", "{run: 'git ls-remote --tags origin'}")
        + &step("d", "AddGitTag", "{tag: v7, message: again}");
    let (finished, log) = peer.run(&steps).await;
    let main = peer.tip("main").unwrap();
    assert!(log.contains(&format!("{main}\trefs/tags/v7\n")), "{log}");
    assert!(log.contains(&format!("{main}\trefs/tags/v8^{{}}")), "{log}");
    assert_eq!(finished.state, JobState::Failed);
    assert!(finished.reason.unwrap().contains("the tag `v7` is there already"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_a_repository_over_ssh_and_lies_outside_the_checkout() {
    if !require(git_ssh::PROGRAMS) {
        return;
    }
    let git = GitSsh::start().unwrap();
    let url = git.create_repository("team/app").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate(folder.path(), "job").unwrap();
    git.authorize(&key.public_line().unwrap()).unwrap();
    let server = Server::start().await;
    let material = |known_hosts: String| LeaseMaterial::SshKey {
        username: git.user().to_owned(),
        private_key: SecretString::from(key.private_text().unwrap()).into(),
        known_hosts,
        url: None,
    };
    server.give_material("code", material(git.known_hosts_line().unwrap()));
    let address = format!("127.0.0.1:{}", git.port());
    let connections = [("code", "git", address.as_str())];
    let steps = step(
        "show",
        "Command",
        "{run: 'git fetch -q && echo fetched; cat .git/config; grep -r BEGIN . && exit 1; ls $HOME'}",
    ) + &step("merge", "MergeBranch", "{from: feature/login, into: main}");
    let (finished, log) = run_one(&server, &pipeline(&url, &steps), &connections).await;
    assert_succeeded(&finished, &log);
    assert!(log.contains("fetched") && log.contains("merged feature/login into main"), "{log}");

    // A server that shows another key than the connection's is not talked to.
    let other = KeyPair::generate(folder.path(), "other").unwrap().public_line().unwrap();
    let words: Vec<&str> = other.split(' ').collect();
    let wrong = format!("[127.0.0.1]:{} {} {}\n", git.port(), words[0], words[1]);
    server.give_material("code", material(wrong));
    let (finished, _) = run_one(&server, &pipeline(&url, &steps), &connections).await;
    assert_eq!(finished.state, JobState::Failed);
    let reason = finished.reason.unwrap();
    assert!(reason.to_lowercase().contains("host key"), "{reason}");
}

fn ssh_material(git: &GitSsh, key: &KeyPair, url: Option<String>) -> LeaseMaterial {
    LeaseMaterial::SshKey {
        username: git.user().to_owned(),
        private_key: SecretString::from(key.private_text().unwrap()).into(),
        known_hosts: git.known_hosts_line().unwrap(),
        url,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_key_stands_in_for_an_address_of_http() {
    if !require(git_ssh::PROGRAMS) {
        return;
    }
    let git = GitSsh::start().unwrap();
    let url = git.create_repository("team/app").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate(folder.path(), "deploy").unwrap();
    git.authorize(&key.public_line().unwrap()).unwrap();
    let server = Server::start().await;
    server.give_material("code", ssh_material(&git, &key, Some(url)));
    // Nobody answers at this address; all of it has to go to the key's.
    let endpoint = "https://git.example.invalid/team/app";
    let connections = [("code", "git", "https://git.example.invalid")];
    let before = git.tip("team/app", "main").unwrap();
    let steps = step(
        "show",
        "Command",
        "{run: 'git fetch -q && echo fetched; git remote -v; git config --get-all remote.origin.url'}",
    ) + &step(
        "push",
        "Command",
        "{connections: {code: code}, run: 'git push -q origin HEAD:refs/heads/by-command && echo pushed'}",
    ) + &step("merge", "MergeBranch", "{from: feature/login, into: main}");
    let (finished, log) = run_one(&server, &pipeline(endpoint, &steps), &connections).await;
    assert_succeeded(&finished, &log);
    assert!(log.contains("fetched") && log.contains("pushed"), "{log}");
    // What the checkout remembers is the address that people know, and no path to a key.
    assert!(log.contains(&format!("\n{endpoint}\n")), "{log}");
    assert_ne!(git.tip("team/app", "main").unwrap(), before);
    assert_eq!(git.tip("team/app", "by-command").unwrap(), before);
    server.seen("01", |seen| {
        let writes = seen.leases.iter().filter(|one| **one == git_operation(Access::Write));
        assert_eq!((writes.count(), seen.leases.len()), (1, 2));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_about_to_end_is_replaced_before_the_next_step() {
    if !require(git_ssh::PROGRAMS) {
        return;
    }
    let git = GitSsh::start().unwrap();
    let url = git.create_repository("team/app").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let first = KeyPair::generate(folder.path(), "first").unwrap();
    git.authorize(&first.public_line().unwrap()).unwrap();
    let server = Server::start().await;
    server.set_lease_seconds(30);
    server.give_material("code", ssh_material(&git, &first, None));
    let address = format!("ssh://127.0.0.1:{}", git.port());
    let steps =
        step("wait", "Command", "{run: 'echo waiting; until [ -e /tmp/go ]; do sleep 0.05; done'}")
            + &step("fetch", "Command", "{run: 'git fetch -q && echo fetched'}");
    let job = server.queue(&pipeline(&url, &steps), &[("code", "git", &address)]);
    let runner = Running::start(&server, |_| ());
    server.wait_for_log(&job, "waiting").await;
    // The first key ends, as its lease does; the second one is what a new lease has.
    git.revoke_all().unwrap();
    let second = KeyPair::generate(folder.path(), "second").unwrap();
    git.authorize(&second.public_line().unwrap()).unwrap();
    server.give_material("code", ssh_material(&git, &second, None));
    server.set_lease_seconds(3_600);
    let own = runner.leftovers().into_iter().find(|path| path.join("tmp").is_dir()).unwrap();
    std::fs::write(own.join("tmp/go"), "").unwrap();
    let finished = server.wait_for_end(&job).await;
    let log = server.log(&job);
    assert_succeeded(&finished, &log);
    assert!(log.contains("fetched"), "{log}");
    // The check-out, the step that waits, and the step after it.
    server.seen(&job, |seen| assert_eq!(seen.leases.len(), 3));
}
