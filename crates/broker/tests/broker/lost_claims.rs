//! Claims whose answer is lost: the job has not begun, so another runner gets it.

use std::collections::BTreeMap;

use keyferry_domain::actor::Identity;
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::run::{JobState, RunState, StepState};
use keyferry_domain::{Actor, ErrorKind, Scope};

use crate::fixture::{TestBroker, assert_code};
use crate::scenes::{
    TWO_STAGES, claim, claim_next, finish, git, job, pipeline, run, runner, start, with_connection,
};

/// Lets a runner's time be up, and has the server look.
async fn miss(test: &TestBroker) {
    test.advance(31);
    test.broker.sweep_runs(&test.broker.system_actor()).await.unwrap();
}

#[tokio::test]
async fn a_job_whose_claim_was_lost_is_given_to_another_runner_and_runs_once() {
    let test = TestBroker::start().await;
    let (first, second) = (runner(&test, "first").await, runner(&test, "second").await);
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let lost = claim(&test.broker, &first).await.unwrap();
    test.advance(20);
    test.broker.sweep_runs(&test.broker.system_actor()).await.unwrap();
    assert!(claim(&test.broker, &second).await.is_none(), "its time is not up");
    miss(&test).await;
    let (again, actor) = claim_next(&test, &second).await;
    assert_eq!((&again.job, again.attempt), (&lost.job, 1));

    // The first runner comes back: its token is known no more, on no server.
    for broker in [&test.broker, &test.open_again().await] {
        let known = broker.authenticate(lost.token.expose(), broker.new_request_id(), None).await;
        assert_eq!(known.unwrap_err().kind(), ErrorKind::Unauthenticated);
    }
    test.broker.heartbeat(&actor, BTreeMap::new()).await.unwrap();
    finish(&test, &actor, JobState::Succeeded, None).await.unwrap();
    assert_eq!(job(&run(&test, &started).await, "build.compile").0.state, JobState::Succeeded);
    let events = test.events("job.requeue").await;
    assert_eq!(events.len(), 1);
    let Identity::Runner { runner: first, .. } = &first.identity else { panic!("{first:?}") };
    assert_eq!(events[0].data["runner"], first.to_string());
    assert_eq!(events[0].data["lost_claims"], "1");
    assert_eq!(test.events("job.claim").await.len(), 2);
    assert_eq!(test.events("job.finish").await.len(), 1);
}

#[tokio::test]
async fn a_job_that_nobody_speaks_of_is_given_up_at_last() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    for _ in 0..3 {
        claim(&test.broker, &machine).await.unwrap();
        miss(&test).await;
        assert_ne!(run(&test, &started).await.run.state, RunState::Failed);
    }
    claim(&test.broker, &machine).await.unwrap();
    miss(&test).await;
    let failed = run(&test, &started).await.run;
    assert_eq!(failed.state, RunState::Failed);
    let reason = failed.reason.unwrap();
    assert!(reason.contains("runner was lost") && reason.contains("claimed 4 times"), "{reason}");
    assert!(claim(&test.broker, &machine).await.is_none());
    assert_eq!(test.events("job.requeue").await.len(), 3);
}

/// Claims a job, has it do something, and lets its runner be lost.
async fn lost_after(does: impl AsyncFnOnce(&TestBroker, &Actor)) {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    git(&test, &test.owner, "forge", Scope::Private).await;
    let yaml = with_connection("forge", "make");
    let id = pipeline(&test, &test.owner, "Build", &yaml).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (_, actor) = claim_next(&test, &machine).await;
    does(&test, &actor).await;
    miss(&test).await;
    let failed = run(&test, &started).await.run;
    assert_eq!(failed.state, RunState::Failed);
    assert!(failed.reason.unwrap().contains("runner was lost"));
    assert!(claim(&test.broker, &machine).await.is_none(), "it is not run a second time");
    assert_eq!(test.events("job.requeue").await.len(), 0);
    assert!(test.broker.heartbeat(&actor, BTreeMap::new()).await.is_err());
}

#[tokio::test]
async fn a_job_that_had_begun_is_never_run_twice() {
    lost_after(async |test, actor| {
        test.broker.heartbeat(actor, BTreeMap::new()).await.unwrap();
    })
    .await;
    lost_after(async |test, actor| {
        let state = StepState::Running;
        test.broker.update_step(actor, "compile", state, None).await.unwrap();
    })
    .await;
    lost_after(async |test, actor| test.broker.append_log(actor, 1, "hello").await.unwrap()).await;
    lost_after(async |test, actor| {
        let repository = Some("team/app".parse().unwrap());
        let operation = Operation::Git { repository, access: Access::Read };
        let forge = "forge".parse().unwrap();
        let organization = &test.organization;
        test.broker.issue_lease(actor, organization, &forge, &operation).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_lost_claim_of_a_canceled_run_is_not_given_again() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    let (_, actor) = claim_next(&test, &machine).await;
    test.broker.cancel_run(&test.owner, &test.organization, &started).await.unwrap();
    miss(&test).await;
    assert_eq!(run(&test, &started).await.run.state, RunState::Canceled);
    assert!(claim(&test.broker, &machine).await.is_none());
    assert_code(test.broker.heartbeat(&actor, BTreeMap::new()).await, "job_over");
}
