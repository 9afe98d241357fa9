//! Runs of revisions that this version cannot read: an older or newer one has saved them, or the
//! database was damaged. They end, and say why.

use keyferry_broker::runs::{JobRecord, RunRecord};
use keyferry_domain::run::{JobState, RunState};
use keyferry_store::{Store, StoreOptions, jobs, pipelines, runs};

use crate::fixture::TestBroker;
use crate::scenes::{claim, pipeline, run, runner, start};

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
