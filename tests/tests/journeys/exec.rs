//! `keyferry exec`: any command gets access for as long as it runs.

use anyhow::Result;
use keyferry_api::connections::ConnectionView;
use keyferry_api::leases::LeaseView;
use keyferry_domain::lease::EndReason;
use keyferry_testkit::children::describe;
use keyferry_testkit::peers::git_http;
use keyferry_testkit::require;

use crate::world::{Person, TeamGit, World, example};

fn leases(person: &Person, connection: &str) -> Result<Vec<LeaseView>> {
    person.ask(&["lease", "list", "--connection", connection])
}

#[test]
fn any_command_gets_access_and_loses_it_at_its_end() -> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let world = World::start()?;
    let team = TeamGit::start(&world)?;
    team.connect(&world.owner, "team-git", "public")?;
    let mia = world.invite("mia", "member")?;
    let watch = team.password.watch_processes();

    // Without it there is no access, and git's own exit code is passed on with it.
    let clone = ["exec", "-c", "team-git", "--", "git", "clone", "--quiet", &team.url, "copy"];
    let output = mia.output(&clone)?;
    assert!(output.status.success(), "{}", describe(&output));
    let push = ["exec", "-c", "team-git", "--", "git", "-C", "copy", "push", "--quiet", "origin"];
    let push = [&push[..], &["HEAD:refs/heads/pushed"]].concat();
    let output = mia.output(&push)?;
    assert!(output.status.success(), "{}", describe(&output));
    assert!(team.copy.find("refs/heads/pushed")?.is_some());
    let output = mia.output(&["exec", "-c", "team-git", "--", "sh", "-c", "exit 7"])?;
    assert_eq!(output.status.code(), Some(7), "{}", describe(&output));

    // Nothing of it lives on, and the command was told neither token nor password.
    let all = leases(&world.owner, "team-git")?;
    assert!(!all.is_empty());
    for lease in all {
        assert_eq!(
            (lease.state.as_str(), lease.end_reason),
            ("ended", Some(EndReason::HolderEnded))
        );
    }
    let script = "env; cat copy/.git/config; ls -A ~; true";
    let output = mia.output(&["exec", "-c", "team-git", "--", "sh", "-c", script])?;
    assert!(!describe(&output).contains("kf_"), "{}", describe(&output));
    assert_eq!(watch.finish(), []);
    world.assert_audit_is_whole()?;
    world.hunt();
    Ok(())
}

#[test]
fn what_one_may_not_use_is_refused_before_the_command_starts() -> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let world = World::start()?;
    let team = TeamGit::start(&world)?;
    team.connect(&world.owner, "owners-git", "private")?;
    let mia = world.invite("mia", "member")?;
    let touch = ["--", "touch", "started"];
    for (connection, code) in [("owners-git", 5), ("nobodys-git", 5)] {
        let command = [&["exec", "-c", connection][..], &touch].concat();
        mia.refused(&command)?.says(code, &[connection]);
    }
    // Not signed in at all.
    let stranger = world.newcomer("stranger")?;
    let command = [&["exec", "-c", "owners-git"][..], &touch].concat();
    stranger.refused(&command)?.says(3, &["keyferry login"]);
    for person in [&mia, &stranger] {
        assert!(!person.has_file("started"));
    }
    assert_eq!(leases(&world.owner, "owners-git")?.len(), 0);
    world.hunt();
    Ok(())
}

#[test]
fn the_example_of_a_script_runs() -> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let world = World::start()?;
    let team = TeamGit::start(&world)?;
    team.connect(&world.owner, "team-git", "public")?;
    let value = world.secret("api-key")?;
    let create = ["connection", "create", "--type", "generic", "--id", "payment-keys"];
    let create = [&create[..], &["--name", "Keys", "--secret", "API_KEY=-"]].concat();
    world.owner.ask_with_input::<ConnectionView>(&create, value.value())?;

    let script = example("exec.sh", &[("https://git.example.com", &team.server.url())])?;
    let output = world.owner.run_script(&script)?;
    assert!(output.status.success(), "{}", describe(&output));
    assert!(describe(&output).contains("a key of 32 characters or more"), "{}", describe(&output));
    world.hunt();
    Ok(())
}
