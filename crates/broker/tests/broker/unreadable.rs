//! Runs of revisions and plans that this version cannot read: an older or newer one has saved them,
//! or the database was damaged. They end, and say why.

use std::collections::BTreeMap;

use keyferry_broker::runs::{JobRecord, RunFilter, RunRecord};
use keyferry_domain::Scope;
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::page::PageRequest;
use keyferry_domain::run::{JobState, RunState, StepState};
use keyferry_store::{Store, StoreOptions, jobs, pipelines, runs};
use keyferry_testkit::{databases, require};

use crate::fixture::{TestBroker, assert_code};
use crate::scenes::{
    TWO_STAGES, claim, claim_next, git, pipeline, run, runner, start, states, with_connection,
};

const ONE_JOB: &str =
    "stages: {s: {jobs: {j: {steps: {a: {step: Command, with: {run: echo hello}}}}}}}";

/// Starts a run of an unreadable revision behind the broker's back, its one job in `state`.
async fn start_of_unreadable(test: &TestBroker, state: JobState) -> RunRecord {
    let path = test.folder().join("keyferry.db");
    let url = format!("sqlite://{}", path.display());
    let store = Store::open(&url, StoreOptions::default()).await.unwrap();
    let made = pipeline(test, &test.owner, "Build", ONE_JOB).await;
    let model = start(test, &test.owner, &made.pipeline.id).await;
    let (organization, id) = (&test.organization, &made.pipeline.id);
    let first = pipelines::find_revision(&store, organization, id, 1).await.unwrap().unwrap();
    let broken = pipelines::RevisionRecord { number: 2, yaml: "stages: [".to_owned(), ..first };
    let mut current = pipelines::find(&store, organization, id).await.unwrap().unwrap();
    current.current_revision = 2;
    pipelines::save_revision(&store, &current, &broken).await.unwrap();
    // What the model has is out of the way, so that a runner is not given that.
    test.broker.cancel_run(&test.owner, organization, &model.run.id).await.unwrap();
    let run = RunRecord {
        id: "run_00000000000000000000000002".parse().unwrap(),
        revision: broken.number,
        ..model.run
    };
    runs::create(&store, &run).await.unwrap();
    let job = JobRecord {
        id: "job_00000000000000000000000002".parse().unwrap(),
        run_id: run.id.clone(),
        state,
        queued_at: (state == JobState::Queued).then_some(run.created_at),
        ..model.jobs[0].0.clone()
    };
    jobs::create(&store, &job).await.unwrap();
    store.close().await;
    run
}

#[tokio::test]
async fn a_run_whose_revision_cannot_be_read_fails_and_says_so() {
    for state in [JobState::Waiting, JobState::Queued] {
        let test = TestBroker::start().await;
        let machine = runner(&test, "machine").await;
        let broken = start_of_unreadable(&test, state).await;
        test.broker.sweep_runs(&test.broker.system_actor()).await.unwrap();
        // One that waits fails by itself, one that is ready when a runner would get it.
        assert!(claim(&test.broker, &machine).await.is_none());
        let over = run(&test, &broken.id).await;
        assert_eq!(over.run.state, RunState::Failed, "{state}");
        assert_eq!(over.jobs[0].0.state, JobState::Failed);
        let reason = over.run.reason.unwrap();
        let words =
            "revision 2 of the pipeline, which is to run, cannot be read; open the pipeline";
        assert!(reason.contains(words), "{reason}");
        let action = if state == JobState::Waiting { "job.queue" } else { "job.claim" };
        let refused = test.events(action).await.into_iter().filter_map(|one| one.reason);
        assert!(refused.collect::<Vec<_>>().join(";").contains("cannot be read"), "{action}");
        // And the server is as well as before.
        let id = pipeline(&test, &test.owner, "Fine", ONE_JOB).await.pipeline.id;
        start(&test, &test.owner, &id).await;
        assert!(claim(&test.broker, &machine).await.is_some());
    }
}

/// Puts another plan into a job, behind the broker's back.
async fn put_plan(test: &TestBroker, job: &JobRecord, plan: serde_json::Value) {
    let store = Store::open(&test.url, StoreOptions::default()).await.unwrap();
    let now = jobs::find(&store, &job.organization_id, &job.id).await.unwrap().unwrap();
    jobs::update(&store, &JobRecord { plan, ..now }).await.unwrap();
    store.close().await;
}

/// Asserts that one run has failed with its jobs, that this is recorded once, and that others run.
async fn assert_given_up(test: &TestBroker, over: &RunRecord, named: &str) {
    assert_eq!(over.state, RunState::Failed, "{named}");
    assert!(over.finished_at.is_some());
    let reason = over.reason.as_deref().unwrap();
    let words = format!("what {named} is to do cannot be read; start a new run");
    assert!(reason.contains(&words), "{reason}");
    let ends = test.events("run.finish").await;
    let ends: Vec<_> = ends.iter().filter(|end| end.data["state"] == "failed").collect();
    assert_eq!(ends.len(), 1);
    let machine = runner(test, "another").await;
    let id = pipeline(test, &test.owner, "Fine", ONE_JOB).await.pipeline.id;
    let fine = start(test, &test.owner, &id).await.run.id;
    assert_eq!(claim(&test.broker, &machine).await.unwrap().run, fine, "the queue goes on");
}

#[tokio::test]
async fn a_run_with_a_job_whose_plan_cannot_be_read_fails_and_says_so() {
    // The first job is queued, the second waits.
    for broken in [0, 1] {
        let test = TestBroker::start().await;
        let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
        let started = start(&test, &test.owner, &id).await;
        let record = &started.jobs[broken].0;
        put_plan(&test, record, serde_json::json!({"of": "another time"})).await;
        let system = test.broker.system_actor();
        for _ in 0..2 {
            test.broker.sweep_runs(&system).await.unwrap();
        }
        let over = run(&test, &started.run.id).await;
        assert_eq!(states(&over), ["build.compile failed", "deploy.roll failed"]);
        for (job, steps) in &over.jobs {
            assert_eq!(job.reason, over.run.reason);
            assert!(steps.iter().all(|step| step.state == StepState::Skipped), "{steps:?}");
        }
        assert_given_up(&test, &over.run, &format!("job `{}`", record.key)).await;
        let (organization, run) = (&test.organization, &started.run.id);
        let again = test.broker.retry_job(&test.owner, organization, run, &record.id).await;
        assert_code(again, "plan_unreadable");
    }
}

#[tokio::test]
async fn a_runner_that_claims_a_job_whose_plan_cannot_be_read_is_given_another() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    let id = pipeline(&test, &test.owner, "Build", ONE_JOB).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await;
    put_plan(&test, &started.jobs[0].0, serde_json::json!([])).await;
    test.advance(1);
    let next = start(&test, &test.owner, &id).await.run.id;
    assert_eq!(claim(&test.broker, &machine).await.unwrap().run, next);
    let over = run(&test, &started.run.id).await;
    assert_eq!((over.run.state, states(&over)), (RunState::Failed, vec!["s.j failed".to_owned()]));
    assert_eq!(test.events("job.finish").await.len(), 1);
}

#[tokio::test]
async fn a_running_job_whose_plan_cannot_be_read_ends_with_its_leases() {
    let test = TestBroker::start().await;
    let machine = runner(&test, "machine").await;
    git(&test, &test.owner, "forge", Scope::Private).await;
    let yaml = with_connection("forge", "make");
    let id = pipeline(&test, &test.owner, "Build", &yaml).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await;
    let (_, actor) = claim_next(&test, &machine).await;
    let read =
        Operation::Git { repository: Some("team/app".parse().unwrap()), access: Access::Read };
    let forge = "forge".parse().unwrap();
    let organization = &test.organization;
    test.broker.issue_lease(&actor, organization, &forge, &read).await.unwrap();
    test.broker.heartbeat(&actor, BTreeMap::new()).await.unwrap();
    put_plan(&test, &started.jobs[0].0, serde_json::json!("nothing")).await;
    test.broker.sweep_runs(&test.broker.system_actor()).await.unwrap();
    let over = run(&test, &started.run.id).await.run;
    let ended = test.events("lease.end").await;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].data["reason"], "holder_ended");
    assert_eq!(test.events("job.finish").await[0].data["state"], "failed");
    let again = test.broker.issue_lease(&actor, organization, &forge, &read).await;
    assert_code(again, "job_over");
    assert_code(test.broker.heartbeat(&actor, BTreeMap::new()).await, "job_over");
    assert_given_up(&test, &over, "job `build.compile`").await;
}

#[tokio::test]
async fn a_run_with_a_job_whose_plan_is_no_json_any_more_fails_and_keeps_no_other() {
    if !require(databases::PROGRAMS) {
        return;
    }
    for is_claimed in [false, true] {
        let test = TestBroker::start().await;
        let machine = runner(&test, "machine").await;
        let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
        let started = start(&test, &test.owner, &id).await.run.id;
        if is_claimed {
            claim(&test.broker, &machine).await.unwrap();
        }
        databases::execute(&test.url, "UPDATE jobs SET plan = '{' WHERE position = 0").unwrap();
        test.advance(31);
        test.broker.sweep_runs(&test.broker.system_actor()).await.unwrap();
        // The job itself cannot be shown; the run can.
        let (all, page) = (RunFilter::default(), PageRequest { limit: 9, cursor: None });
        let found = test.broker.list_runs(&test.owner, &test.organization, &all, &page).await;
        let over = found.unwrap().items.remove(0).run;
        assert_eq!(over.id, started);
        assert_given_up(&test, &over, "one of its jobs").await;
    }
}
