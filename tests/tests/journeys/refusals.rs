//! What is refused, told to whom can act on it, and leaves nothing behind.

use anyhow::{Context as _, Result};
use keyferry_api::connections::ConnectionView;
use keyferry_api::leases::LeaseView;
use keyferry_api::pipelines::PipelineView;
use keyferry_api::runs::RunView;
use keyferry_domain::run::{JobState, RunState};
use keyferry_testkit::peers::git_http;
use keyferry_testkit::require;

use crate::world::{TeamGit, World, script_job};

#[test]
fn somebody_elses_connection_needs_the_approval_of_who_may_use_it() -> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let world = World::start()?;
    let team = TeamGit::start(&world)?;
    let owen = world.invite("owen", "member")?;
    team.connect(&owen, "owens-git", "private")?;
    let mia = world.invite("mia", "admin")?;

    // An administrator sees the connection, may name it, and may not use it.
    let clone = team.pipeline("owens-git", &script_job("job", "", "ls README.md"));
    let saved: PipelineView = mia.create_pipeline("build", &clone)?;
    assert!(saved.bindings.iter().all(|one| one.state == "needs_approval"), "{saved:?}");
    let (pipeline, binding) = (saved.id.as_str(), saved.bindings[0].id.as_str());
    let approve = ["pipeline", "approve", pipeline, binding, "--yes"];
    let run = mia.run("build", &[])?;
    let command = format!("keyferry pipeline approve {pipeline} {binding}");
    run.failed_because(&["owens-git", "needs approval", "the connection's owner", &command]);
    let leases = ["lease", "list", "--connection", "owens-git"];
    assert_eq!(owen.ask::<Vec<LeaseView>>(&leases)?.len(), 0, "no credential moved");
    // She cannot approve it for herself, and a bystander does not even see it.
    mia.refused(&approve)?.says(4, &[]);
    let ben = world.invite("ben", "member")?;
    ben.refused(&approve)?.says(5, &[]);

    // The connection's owner reads it, since he is asked, and approves.
    let read = owen.read(&["pipeline", "get", pipeline, "--yaml"])?;
    assert!(read.contains("owens-git"), "{read}");
    owen.read(&approve)?;
    mia.run("build", &[])?.succeeded();

    // Another script in the job leaves the source as he approved it; another branch does not.
    let other = team.pipeline("owens-git", &script_job("job", "", "ls src"));
    let saved: PipelineView = mia.update_pipeline("build", &other)?;
    let state = saved.bindings[0].state.clone();
    let elsewhere = other.replace("branch: main", "branch: feature/login");
    let saved: PipelineView = mia.update_pipeline("build", &elsewhere)?;
    assert_eq!(saved.bindings[0].state, "needs_approval", "before: {state}");
    mia.run("build", &[])?.failed_because(&["needs approval"]);
    owen.refused(&["pipeline", "approve", pipeline, binding, "--revision", "1", "--yes"])?
        .says(6, &["revision"]);
    owen.read(&approve)?;
    mia.run("build", &[])?.succeeded();

    // What was approved can be taken back.
    owen.read(&["pipeline", "revoke", binding])?;
    mia.run("build", &[])?.failed_because(&["revoked"]);
    world.hunt();
    Ok(())
}

#[test]
fn another_organization_sees_nothing() -> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let world = World::start()?;
    let team = TeamGit::start(&world)?;
    team.connect(&world.owner, "team-git", "public")?;
    let yaml = team.pipeline("team-git", &script_job("job", "", "true"));
    let pipeline: PipelineView = world.owner.create_pipeline("build", &yaml)?;
    let run = world.owner.run("build", &[])?;
    run.succeeded();
    let lease = world.owner.ask::<Vec<LeaseView>>(&["lease", "list"])?.pop().context("no lease")?;

    // The same server, another tenant: Eve owns it, and nothing of ours.
    let created: serde_json::Value = world.owner.ask(&["organization", "create", "Elsewhere"])?;
    let elsewhere = created["id"].as_str().context("no id")?;
    let eve = world.invite_to(Some(elsewhere), "eve", "owner")?;
    let eves = |arguments: &[&str]| -> Vec<String> {
        let all = [arguments, &["--organization", elsewhere]].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    for list in [
        &["connection", "list"][..],
        &["pipeline", "list"],
        &["run", "list"],
        &["lease", "list"],
        &["credential", "list"],
    ] {
        let words = eves(list);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(eve.ask::<Vec<serde_json::Value>>(&words)?.len(), 0, "{list:?}");
    }
    for get in [
        &["connection", "get", "team-git"][..],
        &["connection", "verify", "team-git"],
        &["connection", "delete", "team-git", "--force", "--yes"],
        &["branch", "list", "team-git", "team/app"],
        &["pipeline", "get", pipeline.id.as_str()],
        &["run", "get", run.view.id.as_str()],
        &["run", "cancel", run.view.id.as_str()],
        &["run", "logs", run.view.id.as_str()],
        &["lease", "get", lease.id.as_str()],
        &["lease", "end", lease.id.as_str()],
        &["exec", "-c", "team-git", "--", "true"],
    ] {
        // `exec` ends its own options with `--`, so the organization comes first.
        let all: Vec<&str> = [&["--organization", elsewhere], get].concat();
        eve.refused(&all)?.says(5, &[]);
    }
    // Naming the first organization does not help, nor does a pipeline of her own.
    let ours = world.owner.ask::<serde_json::Value>(&["whoami"])?;
    let ours = ours["memberships"][0]["organization_id"].as_str().context("no id")?.to_owned();
    eve.refused(&["--organization", &ours, "connection", "list"])?.says(5, &[]);
    let file = eve.file("pipeline.yaml", &yaml)?;
    let save = ["--organization", elsewhere, "pipeline", "create", "mine", &file];
    let refusal = eve.refused(&save)?;
    refusal.says(2, &["team-git"]);
    assert!(!refusal.text.contains("did you mean"), "{}", refusal.text);
    assert!(team.copy.find("refs/heads/main")?.is_some());
    world.owner.ask::<ConnectionView>(&["connection", "get", "team-git"])?;
    world.hunt();
    Ok(())
}

#[test]
fn a_conflict_lists_its_paths_and_changes_nothing() -> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let world = World::start()?;
    let team = TeamGit::start(&world)?;
    team.connect(&world.owner, "team-git", "public")?;
    let theirs = team.copy.push("main", "feature/other", "src/app.txt", "one\n2\nthree\n")?;
    let ours = team.copy.push("main", "main", "src/app.txt", "one\nzwei\nthree\n")?;
    let merge = "      job:
        sourceOption: []
        steps:
          merge: {step: MergeBranch, with: {source: app, from: feature/other, into: main, deleteSource: true}}
";
    world.owner.create_pipeline::<PipelineView>("merge", &team.pipeline("team-git", merge))?;
    let run = world.owner.run("merge", &[])?;
    run.failed_because(&["src/app.txt", "nothing was changed"]);
    assert_eq!(team.copy.find("refs/heads/main")?, Some(ours.clone()));
    assert_eq!(team.copy.find("refs/heads/feature/other")?, Some(theirs.clone()));

    // A branch that moved is not deleted, and a tag that is there is not moved.
    let tidy = format!(
        "      job:
        sourceOption: []
        steps:
          tidy: {{step: DeleteBranch, with: {{source: app, branch: feature/other, expectedCommit: {ours}}}}}
"
    );
    world.owner.create_pipeline::<PipelineView>("tidy", &team.pipeline("team-git", &tidy))?;
    let run = world.owner.run("tidy", &[])?;
    run.failed_because(&["feature/other", &theirs]);
    assert_eq!(team.copy.find("refs/heads/feature/other")?, Some(theirs));
    let tag = "      job:
        sourceOption: []
        steps:
          tag: {step: AddGitTag, with: {source: app, tag: v1}}
";
    world.owner.create_pipeline::<PipelineView>("tag", &team.pipeline("team-git", tag))?;
    world.owner.run("tag", &[])?.succeeded();
    let tagged = team.copy.find("refs/tags/v1")?;
    assert_eq!(tagged, Some(ours));
    team.copy.push("main", "main", "src/more.txt", "more\n")?;
    world.owner.run("tag", &[])?.failed_because(&["v1", "there already"]);
    assert_eq!(team.copy.find("refs/tags/v1")?, tagged);
    world.hunt();
    Ok(())
}

#[test]
fn mistakes_in_a_pipeline_are_found_when_it_is_saved() -> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let world = World::start()?;
    let team = TeamGit::start(&world)?;
    team.connect(&world.owner, "team-git", "public")?;
    let good = team.pipeline("team-git", &script_job("job", "", "true"));
    for (what, yaml, words) in [
        ("a mistyped ID", good.replace("team-git}", "team-gti}"), &["team-gti", "team-git"][..]),
        ("a mistyped key", good.replace("endpoint:", "endpont:"), &["endpont", "endpoint"]),
        ("a step of Flow", good.replace("step: Command", "step: KubectlApply"), &["not run yet"]),
        ("no step at all", good.replace("step: Command", "step: Comand"), &["`Command`"]),
        ("a password", good.replace("http://", "http://ci:pw@"), &["user name or password"]),
        ("a key twice", format!("{good}{}", "stages: {}\n"), &["stages"]),
    ] {
        let file = world.owner.file("pipeline.yaml", &yaml)?;
        let refusal = world.owner.refused(&["pipeline", "create", "build", &file])?;
        assert_eq!(refusal.code, 2, "{what}: {}", refusal.text);
        refusal.says(2, words);
        assert!(!refusal.text.contains("ci:pw"), "{}", refusal.text);
    }
    assert_eq!(world.owner.ask::<Vec<serde_json::Value>>(&["pipeline", "list"])?.len(), 0);
    // The same without a server, as far as that goes.
    let file = world.owner.file("pipeline.yaml", &good.replace("endpoint:", "endpont:"))?;
    world.newcomer("nobody")?.refused(&["pipeline", "check", &file])?.says(2, &["endpont"]);
    // An address that the gate refuses, and one with a password, are never stored.
    for (url, words) in [
        ("url=http://169.254.169.254/latest", "address"),
        ("url=http://ci:pw@127.0.0.1/git", "password"),
        ("url=file:///etc", "url"),
    ] {
        let create = ["connection", "create", "--type", "git", "--name", "Bad", "--set", url];
        let create = [&create[..], &["--set", "username=ci", "--secret", "password=-"]].concat();
        let refusal = world.owner.refused_with_input(&create, "some-password")?;
        assert!(refusal.text.contains(words), "{url}: {}", refusal.text);
        assert!(!refusal.text.contains("ci:pw"), "{}", refusal.text);
    }
    assert_eq!(world.owner.ask::<Vec<ConnectionView>>(&["connection", "list"])?.len(), 1);
    world.hunt();
    Ok(())
}

#[test]
fn a_connection_in_use_is_not_deleted_by_accident() -> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let world = World::start()?;
    let team = TeamGit::start(&world)?;
    let owner = &world.owner;
    team.connect(owner, "team-git", "public")?;
    let yaml = team.pipeline("team-git", &script_job("job", "", "true"));
    owner.create_pipeline::<PipelineView>("nightly", &yaml)?;
    owner.refused(&["connection", "delete", "team-git", "--yes"])?.says(6, &["nightly", "--force"]);
    owner.run("nightly", &[])?.succeeded();

    // Forced, its pipelines fail and name it; its ID is never used again.
    owner.read(&["connection", "delete", "team-git", "--force", "--yes"])?;
    let run = owner.run("nightly", &[])?;
    run.failed_because(&["team-git", "deleted"]);
    owner.refused(&["connection", "get", "team-git"])?.says(5, &[]);
    assert!(team.connect(owner, "team-git", "public").is_err(), "the ID was given again");
    team.connect(owner, "team-git-2", "public")?;
    owner.update_pipeline::<PipelineView>("nightly", &yaml.replace("team-git}", "team-git-2}"))?;
    owner.run("nightly", &[])?.succeeded();
    world.hunt();
    Ok(())
}

#[test]
fn a_run_is_canceled_and_its_lease_with_it() -> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let world = World::start()?;
    let team = TeamGit::start(&world)?;
    team.connect(&world.owner, "team-git", "public")?;
    let script = "trap 'echo asked to stop' TERM\necho running now\nwhile true; do sleep 0.1; done";
    let jobs = script_job("job", "", script) + &script_job("next", "needs: job", "echo never");
    world.owner.create_pipeline::<PipelineView>("wait", &team.pipeline("team-git", &jobs))?;
    let run = world.owner.start("wait", &[])?;
    world.owner.wait_for_log(&run, "running now")?;
    let leases = ["lease", "list", "--connection", "team-git", "--state", "active"];
    assert_eq!(world.owner.ask::<Vec<LeaseView>>(&leases)?.len(), 1);

    world.owner.ask::<RunView>(&["run", "cancel", run.id.as_str()])?;
    let ended = world.owner.watch(&run)?;
    assert_eq!((ended.view.state, ended.exit_code), (RunState::Canceled, 9));
    assert_eq!(ended.job("main.job").state, JobState::Canceled);
    assert_eq!(ended.job("main.next").state, JobState::Canceled);
    assert!(ended.log.contains("asked to stop") && !ended.log.contains("never"), "{}", ended.log);
    assert_eq!(world.owner.ask::<Vec<LeaseView>>(&leases)?.len(), 0);
    // Again changes nothing, and it can be tried again.
    world.owner.ask::<RunView>(&["run", "cancel", run.id.as_str()])?;
    world.hunt();
    Ok(())
}
