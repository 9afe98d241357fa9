//! Steps.

use keyferry_domain::run::StepState;
use keyferry_store::steps::{self, StepRecord};
use keyferry_store::{StoreError, jobs::JobRecord};

use crate::world::{World, each};

async fn steps_of(world: &World, job: &JobRecord) -> Vec<StepRecord> {
    let mut all = Vec::new();
    for (position, state) in
        [StepState::Succeeded, StepState::Running, StepState::Waiting].into_iter().enumerate()
    {
        let position = i64::try_from(position).unwrap();
        let record = StepRecord {
            organization_id: job.organization_id.clone(),
            job_id: job.id.clone(),
            key: format!("step{position}"),
            position,
            name: "Step".to_owned(),
            state,
            reason: None,
            started_at: None,
            finished_at: None,
            version: 1,
        };
        steps::create(&world.store, &record).await.unwrap();
        all.push(record);
    }
    all
}

#[tokio::test]
async fn stale_reports_and_other_organizations_change_nothing() {
    each(async |world| {
        let job = world.queued_jobs(1).await.remove(0);
        let stranger = world.organization().await;
        let mut step = steps_of(world, &job).await.remove(1);
        assert!(steps::create(&world.store, &step).await.is_err());
        step.state = StepState::Failed;
        step.reason = Some("exit status 1".to_owned());
        assert_eq!(steps::update(&world.store, &step).await.unwrap(), 2);
        let stale = steps::update(&world.store, &step).await;
        assert!(matches!(stale, Err(StoreError::Stale { what: "step", current_version: Some(2) })));
        let find = steps::find(&world.store, &job.organization_id, &job.id, "step1").await;
        assert_eq!(find.unwrap().unwrap().reason, step.reason);
        let find = steps::find(&world.store, &stranger, &job.id, "step1").await;
        assert_eq!(find.unwrap(), None);
        assert!(steps::list_by_job(&world.store, &stranger, &job.id).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_lost_job_ends_what_ran_and_skips_what_waited() {
    each(async |world| {
        let job = world.queued_jobs(1).await.remove(0);
        steps_of(world, &job).await;
        let ended = steps::end_open(
            &world.store,
            &job.organization_id,
            &job.id,
            StepState::Failed,
            "the runner was lost",
            world.now(),
        );
        assert_eq!(ended.await.unwrap(), 2);
        let all = steps::list_by_job(&world.store, &job.organization_id, &job.id).await.unwrap();
        let ends: Vec<_> = all.iter().map(|s| (s.state, s.reason.as_deref())).collect();
        assert_eq!(
            ends,
            [
                (StepState::Succeeded, None),
                (StepState::Failed, Some("the runner was lost")),
                (StepState::Skipped, None)
            ]
        );
    })
    .await;
}
