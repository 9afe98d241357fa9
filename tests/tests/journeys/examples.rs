//! Every example is run by a story; those that belong to no other story are run here.

use anyhow::Result;
use keyferry_api::pipelines::PipelineView;
use keyferry_domain::run::JobState;
use keyferry_testkit::peers::git_http;
use keyferry_testkit::require;

use crate::world::{TeamGit, World, example, example_names};

/// Each example, and the story that runs it.
const RUN_BY: &[(&str, &str)] = &[
    ("README.md", "is text"),
    ("clone-merge-tag.yaml", include_str!("story.rs")),
    ("exec.sh", include_str!("exec.rs")),
    ("forge-merge.yaml", include_str!("gitea.rs")),
    ("promote-image.yaml", include_str!("registry.rs")),
    ("push-image.yaml", include_str!("registry.rs")),
    ("two-sources.yaml", include_str!("examples.rs")),
    ("values-and-files.yaml", include_str!("generic.rs")),
];

#[test]
fn no_example_is_forgotten() -> Result<()> {
    let known: Vec<&str> = RUN_BY.iter().map(|(name, _)| *name).collect();
    assert_eq!(example_names()?, known);
    for (name, story) in RUN_BY.iter().skip(1) {
        let call = format!("example(\"{name}\"");
        assert!(story.contains(&call), "no story calls `{call}`");
    }
    Ok(())
}

#[test]
fn two_sources_and_conditions_do_what_they_say() -> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let world = World::start()?;
    let team = TeamGit::start(&world)?;
    team.server.create_repository("team/settings")?;
    team.connect(&world.owner, "team-git", "public")?;
    let yaml = example("two-sources.yaml", &[("https://git.example.com", &team.server.url())])?;
    world.owner.create_pipeline::<PipelineView>("two", &yaml)?;

    let run = world.owner.run("two", &[])?;
    run.succeeded();
    assert_eq!(
        run.job_states(),
        [
            ("check.both", JobState::Succeeded),
            ("check.settings", JobState::Succeeded),
            ("check.failed", JobState::Skipped),
            ("deploy.staging", JobState::Succeeded),
            ("deploy.production", JobState::Skipped),
        ]
    );
    let tip = team.copy.find("refs/heads/main")?.unwrap_or_default();
    assert!(run.log.contains(&format!("checked {tip} for staging")), "{}", run.log);
    let run = world.owner.run("two", &["--variable", "TARGET=production"])?;
    run.succeeded();
    assert_eq!(run.job("deploy.staging").state, JobState::Skipped);
    assert!(run.log.contains("deployed to production"), "{}", run.log);

    // A branch that is not there fails both jobs, says so, and starts the one for failures.
    let run = world.owner.run("two", &["--branch", "settings=nowhere"])?;
    run.failed_because(&["there is no branch or tag `nowhere`"]);
    assert_eq!(run.job("check.failed").state, JobState::Succeeded);
    assert!(run.log.contains("a check failed"), "{}", run.log);
    assert_eq!(run.job("deploy.staging").state, JobState::Skipped);
    world.hunt();
    Ok(())
}
