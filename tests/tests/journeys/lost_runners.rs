//! Runners that die, and jobs that take too long.

use std::time::Duration;

use anyhow::Result;
use keyferry_api::leases::LeaseView;
use keyferry_api::pipelines::PipelineView;
use keyferry_domain::lease::EndReason;
use keyferry_domain::run::RunState;
use keyferry_testkit::peers::git_http;
use keyferry_testkit::process::ServerOptions;
use keyferry_testkit::{require, wait_until};

use crate::world::{TeamGit, World, script_job};

/// The heartbeat limit, and what the server may need to notice.
const NOTICED: Duration = Duration::from_secs(45);

#[test]
fn a_dead_runners_job_fails_and_a_slow_job_is_stopped() -> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let world = World::start_with(ServerOptions { without_runner: true, ..Default::default() })?;
    let team = TeamGit::start(&world)?;
    let owner = &world.owner;
    team.connect(owner, "team-git", "public")?;
    let doomed = world.start_runner("doomed", &["--parallel-jobs", "1"])?;
    let endless = "echo running now\nwhile true; do sleep 0.1; done";
    let yaml = team.pipeline("team-git", &script_job("job", "", endless));
    owner.create_pipeline::<PipelineView>("endless", &yaml)?;
    let lost = owner.start("endless", &[])?;
    owner.wait_for_log(&lost, "running now")?;

    // Meanwhile another runner has a job with a minute to run.
    let slow = team.pipeline("team-git", &script_job("job", "timeoutMinutes: 1", endless));
    owner.create_pipeline::<PipelineView>("slow", &slow)?;
    let runner = world.start_runner("other", &[])?;
    let slow = owner.start("slow", &[])?;
    owner.wait_for_log(&slow, "running now")?;

    doomed.kill()?;
    let ended = wait_until("the end of the lost job", NOTICED, || {
        let now: keyferry_api::runs::RunView = owner.ask(&["run", "get", lost.id.as_str()])?;
        Ok(now.state.is_over().then_some(now))
    })?;
    assert_eq!(ended.state, RunState::Failed);
    let reason = ended.reason.unwrap_or_default();
    assert!(reason.contains("runner was lost"), "{reason}");
    let job = ended.jobs[0].id.to_string();
    let leases: Vec<LeaseView> = owner.ask(&["lease", "list", "--holder", &job])?;
    assert!(!leases.is_empty());
    for lease in leases {
        assert_eq!(
            (lease.state.as_str(), lease.end_reason),
            ("ended", Some(EndReason::HolderEnded))
        );
    }

    // The slow one is stopped when its time is up, and its lease ends.
    let run = owner.watch(&slow)?;
    run.failed_because(&["longer than 1 minute"]);
    let active = ["lease", "list", "--connection", "team-git", "--state", "active"];
    assert_eq!(owner.ask::<Vec<LeaseView>>(&active)?.len(), 0);
    for canary in world.planted() {
        runner.hunt(&canary);
        doomed.hunt(&canary);
    }
    world.assert_audit_is_whole()?;
    world.hunt();
    Ok(())
}
