//! The main story over SSH: a key goes in once, and no host is trusted that was not named.

use anyhow::{Context as _, Result};
use keyferry_api::connections::{ConnectionReconfigured, ConnectionView};
use keyferry_api::leases::LeaseView;
use keyferry_api::pipelines::PipelineView;
use keyferry_api::repositories::BranchView;
use keyferry_domain::connection::HealthStatus;
use keyferry_testkit::children::describe;
use keyferry_testkit::peers::git_ssh::{self, GitSsh, KeyPair};
use keyferry_testkit::{Canary, Git, require};

use crate::world::{Person, WorkingCopy, World, example, text};

/// Makes a key, lets it in, and returns it with the secret in it.
fn authorized_key(world: &World, server: &GitSsh, name: &str) -> Result<(KeyPair, Canary)> {
    let key = KeyPair::generate(&world.folder("keys")?, name)?;
    server.authorize(&key.public_line()?)?;
    // The last full line of the text is of the private half.
    let private = key.private_text()?;
    let lines: Vec<&str> = private.lines().collect();
    let line = lines.iter().rev().find(|line| line.len() == 70).context("an odd private key")?;
    let canary = Canary::from_value(*line);
    world.plant(&canary);
    Ok((key, canary))
}

fn create(server: &GitSsh, key: &KeyPair, known_hosts: &str, id: &str) -> Vec<String> {
    let fields = [
        ("--set", format!("url={}", server.url())),
        ("--set", format!("username={}", server.user())),
        ("--set", "verify_repository=team/app".to_owned()),
        ("--set", format!("known_hosts=@{known_hosts}")),
        ("--secret", format!("private_key=@{}", text(&key.private))),
    ];
    let start = ["connection", "create", "--type", "git", "--name", "Team", "--scope", "public"];
    let mut arguments: Vec<String> = start.map(str::to_owned).to_vec();
    arguments.extend(["--id".to_owned(), id.to_owned()]);
    for (flag, value) in fields {
        arguments.extend([flag.to_owned(), value]);
    }
    arguments
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn a_key_goes_in_once_and_is_replaced_in_one_place() -> Result<()> {
    if !require(git_ssh::PROGRAMS) {
        return Ok(());
    }
    let server = GitSsh::start()?;
    let url = server.create_repository("team/app")?;
    let world = World::start()?;
    let mia = world.invite("mia", "member")?;
    let colleague = KeyPair::generate(&world.folder("colleague-keys")?, "key")?;
    server.authorize(&colleague.public_line()?)?;
    let git = Git::new(&world.folder("colleague")?)?;
    let git = git.env("GIT_SSH_COMMAND", &server.ssh_command(&colleague)?);
    let copy = WorkingCopy::clone(git, &url)?;

    let (first, secret) = authorized_key(&world, &server, "first")?;
    let watch = secret.watch_processes();
    let known_hosts = mia.file("known_hosts", &server.known_hosts_line()?)?;
    let created: ConnectionView =
        mia.ask(&words(&create(&server, &first, &known_hosts, "team-git")))?;
    assert_eq!(created.health.status, HealthStatus::Healthy);
    let branches: Vec<BranchView> = mia.ask(&["branch", "list", "team-git", "team/app"])?;
    assert_eq!(branches.len(), 2, "{branches:?}");

    let yaml = example("clone-merge-tag.yaml", &[("https://git.example.com", &server.url())])?;
    mia.create_pipeline::<PipelineView>("release", &yaml)?;
    let feature = copy.find("refs/heads/feature/login")?.context("no branch")?;
    mia.run("release", &[])?.succeeded();
    assert!(copy.contains("main", &feature)?);
    assert_eq!(copy.find("refs/heads/feature/login")?, None);
    assert!(copy.find("refs/tags/release-1")?.is_some());

    // The key is taken away at the server.
    server.revoke_all()?;
    server.authorize(&colleague.public_line()?)?;
    copy.push("main", "feature/search", "src/search.txt", "search\n")?;
    let search = ["--variable", "FEATURE=feature/search"];
    let run = mia.run("release", &search)?;
    run.failed_because(&["team-git", "keyferry connection reconfigure team-git"]);
    let connection: ConnectionView = mia.ask(&["connection", "get", "team-git"])?;
    assert_eq!(connection.health.status, HealthStatus::Rejected, "{:?}", connection.health);

    let (second, _) = authorized_key(&world, &server, "second")?;
    let key = format!("private_key=@{}", text(&second.private));
    let username = format!("username={}", server.user());
    let reconfigure = ["connection", "reconfigure", "team-git", "--set", &username];
    let done: ConnectionReconfigured =
        mia.ask(&[&reconfigure[..], &["--secret", &key]].concat())?;
    assert_eq!((done.pipelines_edited, done.used_by.len()), (0, 1));
    mia.run("release", &search)?.succeeded();
    assert_eq!(copy.find("refs/heads/feature/search")?, None);
    let pipeline: PipelineView = mia.ask(&["pipeline", "get", "release"])?;
    assert_eq!(pipeline.revision.number, 1);

    assert_eq!(watch.finish(), []);
    world.assert_audit_is_whole()?;
    world.hunt();
    Ok(())
}

#[test]
fn any_command_gets_the_key_for_as_long_as_it_runs() -> Result<()> {
    if !require(git_ssh::PROGRAMS) {
        return Ok(());
    }
    let server = GitSsh::start()?;
    let url = server.create_repository("team/app")?;
    let world = World::start()?;
    let mia = world.invite("mia", "member")?;
    let (key, _) = authorized_key(&world, &server, "key")?;
    let known_hosts = mia.file("known_hosts", &server.known_hosts_line()?)?;
    mia.ask::<ConnectionView>(&words(&create(&server, &key, &known_hosts, "team-git")))?;

    let clone = ["exec", "-c", "team-git", "--", "git", "clone", "--quiet", &url, "copy"];
    let output = mia.output(&clone)?;
    assert!(output.status.success(), "{}", describe(&output));
    assert!(mia.has_file("copy/README.md"));
    // The key went with the command: neither a file nor git has it any more.
    let alone = mia.output(&["exec", "-c", "team-git", "--", "sh", "-c", "ls -A ~/.ssh ~"])?;
    assert!(!describe(&alone).contains("BEGIN OPENSSH"), "{}", describe(&alone));
    let leases: Vec<LeaseView> = mia.ask(&["lease", "list", "--connection", "team-git"])?;
    assert!(!leases.is_empty());
    assert!(leases.iter().all(|lease| lease.state == "ended"), "{leases:?}");
    world.hunt();
    Ok(())
}

#[test]
fn a_host_with_another_key_gets_nothing() -> Result<()> {
    if !require(git_ssh::PROGRAMS) {
        return Ok(());
    }
    let server = GitSsh::start()?;
    server.create_repository("team/app")?;
    let other = GitSsh::start()?;
    let world = World::start()?;
    let mia = world.invite("mia", "member")?;
    let (key, _) = authorized_key(&world, &server, "key")?;
    let line = other.known_hosts_line()?;
    let line = line.replace(&other.port().to_string(), &server.port().to_string());
    let known_hosts = mia.file("known_hosts", &line)?;

    // Not stored, since it was tried.
    let create = create(&server, &key, &known_hosts, "team-git");
    mia.refused(&words(&create))?.says(2, &["shows another key", "nothing was stored"]);
    // Stored untried: the job does not trust the host either.
    let skip = [&words(&create)[..], &["--skip-verify"]].concat();
    let created: ConnectionView = mia.ask(&skip)?;
    assert_eq!(created.health.status, HealthStatus::Unverified);
    assert_job_is_refused(&mia, &server)?;
    world.hunt();
    Ok(())
}

fn assert_job_is_refused(mia: &Person, server: &GitSsh) -> Result<()> {
    let yaml = example("clone-merge-tag.yaml", &[("https://git.example.com", &server.url())])?;
    mia.create_pipeline::<PipelineView>("release", &yaml)?;
    let run = mia.run("release", &[])?;
    run.failed_because(&["Host key verification failed"]);
    assert!(server.tip("team/app", "feature/login")?.is_some(), "nothing was changed");
    Ok(())
}
