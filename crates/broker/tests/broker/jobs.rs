//! Jobs in the hands of runners that are slow, doubled, lost, late or lying.

use std::collections::BTreeMap;
use std::time::Duration;

use keyferry_domain::lease::LeaseState;
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::run::{Isolation, JobState, RunState, StepState};
use keyferry_domain::{ErrorKind, Scope};

use crate::fixture::{TestBroker, assert_code};
use crate::scenes::{
    TWO_STAGES, claim, claim_next, finish, git, job, pipeline, run, runner, start, states,
    with_connection,
};

const NO_WAIT: Duration = Duration::ZERO;

/// Reads a whole log, and whether nothing more comes.
async fn log(test: &TestBroker, claimed: &keyferry_broker::jobs::ClaimedJob) -> (String, bool) {
    let (mut whole, mut after) = (String::new(), 0);
    loop {
        let part = test
            .broker
            .read_job_log(
                &test.owner,
                &test.organization,
                &claimed.run,
                &claimed.job,
                after,
                NO_WAIT,
            )
            .await
            .unwrap();
        if part.next == after {
            return (whole, part.is_complete);
        }
        whole.push_str(&part.text);
        after = part.next;
    }
}

#[tokio::test]
async fn the_job_that_waits_longest_is_given_and_only_once() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(start(&test, &test.owner, &id).await.run.id);
        test.advance(1);
    }
    let again = test.open_again().await;
    let (one, two) = tokio::join!(claim(&test.broker, &machine), claim(&again, &machine));
    let third = claim(&test.broker, &machine).await;
    assert!(claim(&again, &machine).await.is_none());
    let mut claimed = [one, two, third].map(|claimed| claimed.unwrap().run);
    assert_eq!(claimed[2], runs[2]);
    claimed.sort();
    assert_eq!(claimed.to_vec(), runs);
}

#[tokio::test]
async fn only_runners_of_the_organization_claim() {
    let test = TestBroker::start().await;
    let (outsider, other) = test.outsider().await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    start(&test, &test.owner, &id).await;
    let theirs = test.broker.create_runner(&outsider, &other, "theirs").await.unwrap();
    let theirs = test.authenticate(&theirs.token).await;
    assert!(claim(&test.broker, &theirs).await.is_none());

    let claim_as = async |who: &keyferry_domain::Actor| {
        test.broker.claim_job(who, Isolation::Process, NO_WAIT).await
    };
    assert_code(claim_as(&test.owner).await, "not_a_runner");
    assert_code(claim_as(&test.broker.system_actor()).await, "not_a_runner");
    let machine = runner(&test, "machine").await;
    let (_, actor) = claim_next(&test, &machine).await;
    assert_code(claim_as(&actor).await, "not_a_runner");
    let long = test.broker.claim_job(&machine, Isolation::Process, Duration::from_secs(31)).await;
    assert_code(long, "invalid_input");

    let gone = test.broker.create_runner(&test.owner, &test.organization, "gone").await.unwrap();
    let actor = test.authenticate(&gone.token).await;
    let keyferry_domain::actor::Identity::Runner { runner: gone, .. } = &actor.identity else {
        panic!("{actor:?}");
    };
    test.broker.delete_runner(&test.owner, &test.organization, gone).await.unwrap();
    assert_eq!(claim_as(&actor).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_runner_that_waits_gets_the_job_as_soon_as_there_is_one() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let broker = test.broker.clone();
    let waiting = tokio::spawn(async move {
        broker.claim_job(&machine, Isolation::Namespaces, Duration::from_secs(20)).await
    });
    // Whether it waits already or asks only then, it must get it.
    tokio::task::yield_now().await;
    let started = start(&test, &test.owner, &id).await;
    let claimed = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    let claimed = claimed.unwrap().unwrap().unwrap().unwrap();
    assert_eq!(claimed.run, started.run.id);
    let now = run(&test, &started.run.id).await;
    assert_eq!(now.jobs[0].0.isolation, Some(Isolation::Namespaces));
    assert_eq!(test.events("job.claim").await[0].data["isolation"], "namespaces");
}

#[tokio::test]
async fn a_claimed_job_tells_what_it_may_use_and_no_secret() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    git(&test, &test.owner, "forge", Scope::Private).await;
    git(&test, &test.owner, "other", Scope::Private).await;
    let id =
        pipeline(&test, &test.owner, "Build", &with_connection("forge", "make")).await.pipeline.id;
    start(&test, &test.owner, &id).await;
    let (claimed, _) = claim_next(&test, &machine).await;
    let shown = format!("{claimed:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!shown.contains(claimed.token.expose().as_str()), "{shown}");
    assert_eq!(claimed.connections.len(), 1);
    let held = &claimed.connections[0];
    assert_eq!((held.id.as_str(), held.connection_type), ("forge", "git"));
    assert_eq!(held.address.as_deref(), Some("https://git.example.com"));
}

#[tokio::test]
async fn a_job_says_what_it_does_until_it_is_over_and_nothing_after() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (claimed, actor) = claim_next(&test, &machine).await;
    let broker = &test.broker;
    let step = async |key: &str, state| broker.update_step(&actor, key, state, None).await;
    step("prepare", StepState::Running).await.unwrap();
    step("prepare", StepState::Running).await.unwrap();
    step("prepare", StepState::Succeeded).await.unwrap();
    step("prepare", StepState::Succeeded).await.unwrap();
    assert_code(step("prepare", StepState::Running).await, "step_over");
    assert_code(step("prepare", StepState::Failed).await, "step_over");
    assert_code(step("compile", StepState::Waiting).await, "invalid_input");
    assert_code(step("ghost", StepState::Running).await, "not_found");
    assert_code(step("roll", StepState::Running).await, "not_found");
    step("compile", StepState::Running).await.unwrap();
    broker.append_log(&actor, 1, "hello\n").await.unwrap();

    for state in [JobState::Running, JobState::Queued, JobState::Waiting, JobState::Skipped] {
        assert_code(finish(&test, &actor, state, None).await, "invalid_input");
    }
    let long = "x".repeat(5_000);
    finish(&test, &actor, JobState::Failed, Some(&long)).await.unwrap();
    let over = run(&test, &started).await;
    let (failed, steps) = job(&over, "build.compile");
    assert_eq!(failed.reason.as_ref().unwrap().len(), 2_000);
    assert_eq!(failed.token_hash, None);
    let shown: Vec<&str> = steps.iter().map(|step| step.state.as_str()).collect();
    assert_eq!(shown, ["succeeded", "failed"]);

    assert_code(finish(&test, &actor, JobState::Succeeded, None).await, "job_over");
    assert_code(step("compile", StepState::Succeeded).await, "job_over");
    assert_code(broker.append_log(&actor, 2, "late\n").await, "job_over");
    assert_code(broker.heartbeat(&actor, BTreeMap::new()).await, "job_over");
    let request = broker.new_request_id();
    let known = broker.authenticate(claimed.token.expose(), request, None).await;
    assert_eq!(known.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(log(&test, &claimed).await, ("hello\n".to_owned(), true));
    assert_eq!(test.events("job.finish").await.len(), 1);
}

#[tokio::test]
async fn only_a_running_job_reports_and_only_about_itself() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let broker = &test.broker;
    for who in [&test.owner, &machine, &broker.system_actor()] {
        assert_code(broker.heartbeat(who, BTreeMap::new()).await, "not_a_job");
        assert_code(broker.append_log(who, 1, "x").await, "not_a_job");
        assert_code(broker.update_step(who, "x", StepState::Running, None).await, "not_a_job");
        assert_code(finish(&test, who, JobState::Failed, None).await, "not_a_job");
    }
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (claimed, actor) = claim_next(&test, &machine).await;
    // A job may do nothing else, not even look at itself.
    let organization = &test.organization;
    assert_eq!(
        broker.get_run(&actor, organization, &started).await.unwrap_err().kind(),
        ErrorKind::Denied
    );
    assert_eq!(
        broker.get_pipeline(&actor, organization, &id).await.unwrap_err().kind(),
        ErrorKind::Denied
    );
    assert_eq!(
        broker.cancel_run(&actor, organization, &started).await.unwrap_err().kind(),
        ErrorKind::Denied
    );
    let read = broker
        .read_job_log(&actor, organization, &started, &claimed.job, 0, NO_WAIT)
        .await
        .unwrap_err();
    assert_eq!(read.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_lost_runner_costs_its_job_within_the_limit_and_a_live_one_does_not() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let lost = start(&test, &test.owner, &id).await.run.id;
    test.advance(1);
    let alive = start(&test, &test.owner, &id).await.run.id;
    let (first, lost_actor) = claim_next(&test, &machine).await;
    let (_, alive_actor) = claim_next(&test, &machine).await;
    assert_eq!(first.run, lost);
    let system = test.broker.system_actor();
    test.broker.heartbeat(&lost_actor, BTreeMap::new()).await.unwrap();
    test.advance(20);
    test.broker.heartbeat(&alive_actor, BTreeMap::new()).await.unwrap();
    test.broker.sweep_runs(&system).await.unwrap();
    assert_eq!(run(&test, &lost).await.run.state, RunState::Running);
    test.advance(11);
    test.broker.sweep_runs(&system).await.unwrap();
    let failed = run(&test, &lost).await;
    assert_eq!(failed.run.state, RunState::Failed);
    assert!(failed.run.reason.unwrap().contains("runner was lost"));
    assert_eq!(run(&test, &alive).await.run.state, RunState::Running);
    // It comes back and is told that it is too late.
    assert_code(test.broker.heartbeat(&lost_actor, BTreeMap::new()).await, "job_over");
    assert_code(finish(&test, &lost_actor, JobState::Succeeded, None).await, "job_over");
    assert_eq!(test.events("job.finish").await.len(), 1);
}

#[tokio::test]
async fn runners_have_the_whole_limit_again_after_the_server_was_away() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (_, actor) = claim_next(&test, &machine).await;
    test.advance(3_600);
    let again = test.open_again().await;
    again.sweep_runs(&again.system_actor()).await.unwrap();
    test.advance(29);
    again.sweep_runs(&again.system_actor()).await.unwrap();
    assert_eq!(run(&test, &started).await.run.state, RunState::Running);
    let alive = again.heartbeat(&actor, BTreeMap::new()).await.unwrap();
    assert_eq!(alive.due_at.since(crate::fixture::START).as_secs(), 3_600 + 29 + 30);
    test.advance(31);
    again.sweep_runs(&again.system_actor()).await.unwrap();
    assert_eq!(run(&test, &started).await.run.state, RunState::Failed);
    again.close().await;
}

#[tokio::test]
async fn a_runner_that_is_lost_after_a_cancel_leaves_a_canceled_run() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    claim_next(&test, &machine).await;
    test.broker.cancel_run(&test.owner, &test.organization, &started).await.unwrap();
    test.advance(31);
    test.broker.sweep_runs(&test.broker.system_actor()).await.unwrap();
    let over = run(&test, &started).await;
    assert_eq!(over.run.state, RunState::Canceled);
    assert_eq!(states(&over), ["build.compile canceled", "deploy.roll canceled"]);
}

#[tokio::test]
async fn of_a_late_finish_and_a_sweep_at_once_one_wins() {
    for _ in 0..10 {
        let test = TestBroker::start().await;
        let machine = runner(&test, "machine").await;
        let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
        let started = start(&test, &test.owner, &id).await.run.id;
        let (_, actor) = claim_next(&test, &machine).await;
        test.broker.heartbeat(&actor, BTreeMap::new()).await.unwrap();
        test.advance(31);
        let system = test.broker.system_actor();
        let (finished, swept) = tokio::join!(
            finish(&test, &actor, JobState::Succeeded, None),
            test.broker.sweep_runs(&system),
        );
        swept.unwrap();
        let over = run(&test, &started).await;
        let wanted = if finished.is_ok() { "succeeded" } else { "failed" };
        assert_eq!(job(&over, "build.compile").0.state.as_str(), wanted);
        assert_eq!(test.events("job.finish").await.len(), 1);
    }
}

#[tokio::test]
async fn the_leases_of_a_job_end_with_it() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    git(&test, &test.owner, "forge", Scope::Private).await;
    let organization = &test.organization;
    let id =
        pipeline(&test, &test.owner, "Build", &with_connection("forge", "make")).await.pipeline.id;
    for is_lost in [false, true] {
        start(&test, &test.owner, &id).await;
        let (claimed, actor) = claim_next(&test, &machine).await;
        let operation =
            Operation::Git { repository: Some("team/app".parse().unwrap()), access: Access::Read };
        let forge = "forge".parse().unwrap();
        let issued =
            test.broker.issue_lease(&actor, organization, &forge, &operation).await.unwrap();
        if is_lost {
            test.advance(31);
            test.broker.sweep_runs(&test.broker.system_actor()).await.unwrap();
        } else {
            finish(&test, &actor, JobState::Succeeded, None).await.unwrap();
        }
        let lease = test.broker.get_lease(&test.owner, organization, &issued.id).await.unwrap();
        assert!(
            matches!(lease.state, LeaseState::Ending { .. } | LeaseState::Ended { .. }),
            "{lease:?}"
        );
        let late = test.broker.issue_lease(&actor, organization, &forge, &operation).await;
        assert!(late.is_err(), "what was cached is not handed over after the end");
        let known = test
            .broker
            .authenticate(claimed.token.expose(), test.broker.new_request_id(), None)
            .await;
        assert!(known.is_err());
    }
    assert_eq!(test.events("lease.end").await.len(), 2);
}

#[tokio::test]
async fn uses_are_counted_for_the_connections_that_the_job_names() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    git(&test, &test.owner, "forge", Scope::Private).await;
    let id =
        pipeline(&test, &test.owner, "Build", &with_connection("forge", "make")).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (_, actor) = claim_next(&test, &machine).await;
    let uses = |count| BTreeMap::from([("forge".to_owned(), count), ("made-up".to_owned(), 9)]);
    test.broker.heartbeat(&actor, uses(2)).await.unwrap();
    assert_eq!(
        run(&test, &started).await.jobs[0].0.uses,
        BTreeMap::from([("forge".to_owned(), 2)])
    );
    test.broker.finish_job(&actor, JobState::Succeeded, None, uses(3)).await.unwrap();
    assert_eq!(
        run(&test, &started).await.jobs[0].0.uses,
        BTreeMap::from([("forge".to_owned(), 3)])
    );
}

#[tokio::test]
async fn a_log_has_no_gap_and_no_part_twice() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    start(&test, &test.owner, &id).await;
    let (claimed, actor) = claim_next(&test, &machine).await;
    let broker = &test.broker;
    assert_code(broker.append_log(&actor, 2, "two").await, "log_gap");
    for bad in [0, -1, i64::MIN] {
        assert_code(broker.append_log(&actor, bad, "x").await, "invalid_input");
    }
    let long = "x".repeat(256 * 1024 + 1);
    assert_code(broker.append_log(&actor, 1, &long).await, "invalid_input");
    broker.append_log(&actor, 1, "one\n").await.unwrap();
    broker.append_log(&actor, 1, "another one\n").await.unwrap();
    assert_code(broker.append_log(&actor, 3, "three\n").await, "log_gap");
    assert_code(broker.append_log(&actor, i64::MAX, "three\n").await, "log_gap");
    // Another server takes a part, then this one the next, then the other again.
    let again = test.open_again().await;
    again.append_log(&actor, 2, "two\0\n").await.unwrap();
    broker.append_log(&actor, 3, "three\n").await.unwrap();
    again.append_log(&actor, 3, "three\n").await.unwrap();
    again.append_log(&actor, 4, "four\n").await.unwrap();
    assert_eq!(log(&test, &claimed).await, ("one\ntwo\u{fffd}\nthree\nfour\n".to_owned(), false));
    again.close().await;
}

#[tokio::test]
async fn a_log_without_end_is_cut_and_the_job_goes_on() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    start(&test, &test.owner, &id).await;
    let (claimed, actor) = claim_next(&test, &machine).await;
    let part = "ü".repeat(128 * 1024);
    for sequence in 1..=260 {
        test.broker.append_log(&actor, sequence, &part).await.unwrap();
    }
    // A server that knows nothing of it does not start again.
    let again = test.open_again().await;
    again.append_log(&actor, 261, "after the restart").await.unwrap();
    let (whole, is_complete) = log(&test, &claimed).await;
    assert!(whole.ends_with("longer than 64 MiB; the rest is not kept\n"));
    assert_eq!(whole.matches("not kept").count(), 1);
    assert!((64 << 20..(64 << 20) + 200).contains(&whole.len()), "{}", whole.len());
    assert!(!is_complete);
    finish(&test, &actor, JobState::Succeeded, None).await.unwrap();
    assert!(log(&test, &claimed).await.1);
    again.close().await;
}

#[tokio::test]
async fn who_follows_a_log_hears_of_each_part_and_of_the_end() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    start(&test, &test.owner, &id).await;
    let (claimed, actor) = claim_next(&test, &machine).await;
    let organization = test.organization.clone();
    let read = {
        let (broker, owner) = (test.broker.clone(), test.owner.clone());
        let (run, job) = (claimed.run.clone(), claimed.job.clone());
        move |after, seconds| {
            let (broker, owner, organization) =
                (broker.clone(), owner.clone(), organization.clone());
            let (run, job) = (run.clone(), job.clone());
            async move {
                let wait = Duration::from_secs(seconds);
                broker.read_job_log(&owner, &organization, &run, &job, after, wait).await
            }
        }
    };
    assert_code(read(-1, 0).await, "invalid_input");
    assert_code(read(0, 31).await, "invalid_input");
    let nothing = read(0, 0).await.unwrap();
    assert_eq!((nothing.text.as_str(), nothing.next, nothing.is_complete), ("", 0, false));

    let waiting = tokio::spawn(read(0, 20));
    tokio::task::yield_now().await;
    test.broker.append_log(&actor, 1, "one\n").await.unwrap();
    let part = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
    let part = part.unwrap().unwrap();
    assert_eq!((part.text.as_str(), part.next, part.is_complete), ("one\n", 1, false));

    let waiting = tokio::spawn(read(1, 20));
    tokio::task::yield_now().await;
    finish(&test, &actor, JobState::Succeeded, None).await.unwrap();
    let part = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
    assert!(part.unwrap().unwrap().is_complete);

    let other = start(&test, &test.owner, &id).await;
    let mixed = test
        .broker
        .read_job_log(
            &test.owner,
            &test.organization,
            &other.run.id,
            &claimed.job,
            0,
            Duration::ZERO,
        )
        .await;
    assert_code(mixed, "not_found");
}

/// Lets time pass while a runner says all the time that its job is alive.
async fn keep_alive(test: &TestBroker, job: &keyferry_domain::Actor, seconds: u64) {
    for _ in 0..seconds / 20 {
        test.advance(20);
        let _ = test.broker.heartbeat(job, BTreeMap::new()).await;
        test.broker.sweep_runs(&test.broker.system_actor()).await.unwrap();
    }
}

#[tokio::test]
async fn a_runner_that_does_not_stop_a_canceled_job_loses_it() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (_, job) = claim_next(&test, &machine).await;
    test.broker.cancel_run(&test.owner, &test.organization, &started).await.unwrap();
    keep_alive(&test, &job, 100).await;
    assert_eq!(run(&test, &started).await.run.state, RunState::Running);
    keep_alive(&test, &job, 60).await;
    assert_eq!(run(&test, &started).await.run.state, RunState::Canceled);
    assert_code(test.broker.heartbeat(&job, BTreeMap::new()).await, "job_over");
}

#[tokio::test]
async fn a_runner_that_goes_on_after_the_jobs_time_loses_it() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let yaml = "stages: {s: {jobs: {j: {timeoutMinutes: 3, steps: {a: {step: Command, with: {run: x}}}}}}}";
    let id = pipeline(&test, &test.owner, "Build", yaml).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (_, job) = claim_next(&test, &machine).await;
    keep_alive(&test, &job, 280).await;
    assert_eq!(run(&test, &started).await.run.state, RunState::Running);
    keep_alive(&test, &job, 60).await;
    let failed = run(&test, &started).await.run;
    assert_eq!(failed.state, RunState::Failed);
    assert!(failed.reason.unwrap().contains("3 minutes"));
}

#[tokio::test]
async fn deleting_a_runner_ends_the_jobs_that_it_has() {
    let test = TestBroker::start().await;
    let made = test.broker.create_runner(&test.owner, &test.organization, "machine").await.unwrap();
    let machine = test.authenticate(&made.token).await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (_, job) = claim_next(&test, &machine).await;
    test.broker.delete_runner(&test.owner, &test.organization, &made.record.id).await.unwrap();
    assert_eq!(run(&test, &started).await.run.state, RunState::Failed);
    assert_code(test.broker.heartbeat(&job, BTreeMap::new()).await, "job_over");
}
