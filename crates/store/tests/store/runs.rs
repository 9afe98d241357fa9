//! Runs.

use keyferry_domain::run::RunState;
use keyferry_store::runs::{self, RunFilter};
use keyferry_store::{StoreError, pipelines};

use crate::world::{each, page_after, page_of};

#[tokio::test]
async fn runs_started_at_once_get_distinct_numbers_without_gaps() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let pipeline = world.pipeline(&organization, &owner, "Build").await;
        let starts: Vec<_> = (0..16)
            .map(|_| {
                let (store, record) = (world.store.clone(), world.run_record(&pipeline));
                tokio::spawn(async move { runs::create(&store, &record).await.unwrap() })
            })
            .collect();
        let mut numbers = Vec::new();
        for start in starts {
            numbers.push(start.await.unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=16).collect::<Vec<i64>>());
    })
    .await;
}

#[tokio::test]
async fn a_deleted_pipeline_gets_no_more_runs() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let pipeline = world.pipeline(&organization, &owner, "Build").await;
        pipelines::delete(&world.store, &pipeline, world.now()).await.unwrap();
        let refused = runs::create(&world.store, &world.run_record(&pipeline)).await;
        assert!(matches!(refused, Err(StoreError::Stale { what: "pipeline", .. })));
    })
    .await;
}

#[tokio::test]
async fn a_run_of_a_revision_that_does_not_exist_is_refused_and_takes_no_number() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let pipeline = world.pipeline(&organization, &owner, "Build").await;
        let mut record = world.run_record(&pipeline);
        record.revision = 9;
        assert!(runs::create(&world.store, &record).await.is_err());
        record.revision = 1;
        assert_eq!(runs::create(&world.store, &record).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn lists_are_newest_first_filtered_and_of_one_organization() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let owner = world.member(&one).await;
        let build = world.pipeline(&one, &owner, "Build").await;
        let deploy = world.pipeline(&one, &owner, "Deploy").await;
        let first = world.run(&build).await;
        let mut second = world.run(&build).await;
        let third = world.run(&deploy).await;
        assert_eq!((second.number, third.number), (2, 1));
        second.state = RunState::Succeeded;
        second.finished_at = Some(world.now());
        second.version = runs::update(&world.store, &second).await.unwrap();
        assert!(
            runs::update(&world.store, &{
                let mut s = second.clone();
                s.version = 1;
                s
            })
            .await
            .is_err()
        );

        let all = RunFilter::default();
        let page = runs::list(&world.store, &one, &all, &page_of(2)).await.unwrap();
        assert_eq!(page.items, [third.clone(), second.clone()]);
        let rest = runs::list(&world.store, &one, &all, &page_after(2, page.next_cursor)).await;
        assert_eq!(rest.unwrap().items, [first.clone()]);
        let wanted = RunFilter { pipeline: Some(build.id.clone()), state: Some(RunState::Queued) };
        let page = runs::list(&world.store, &one, &wanted, &page_of(9)).await.unwrap();
        assert_eq!(page.items, [first.clone()]);
        assert!(runs::list(&world.store, &two, &all, &page_of(9)).await.unwrap().items.is_empty());
        assert_eq!(runs::find(&world.store, &two, &first.id).await.unwrap(), None);
        assert_eq!(runs::find(&world.store, &one, &first.id).await.unwrap(), Some(first.clone()));

        let open = runs::list_open(&world.store, None, 9).await.unwrap();
        assert_eq!(open, [first.clone(), third.clone()]);
        let rest = runs::list_open(&world.store, Some(&first.id), 9).await.unwrap();
        assert_eq!(rest, [third]);
    })
    .await;
}

#[tokio::test]
async fn a_cancel_is_asked_for_once_and_only_while_the_run_is_open() {
    each(async |world| {
        let (organization, elsewhere) = (world.organization().await, world.organization().await);
        let owner = world.member(&organization).await;
        let pipeline = world.pipeline(&organization, &owner, "Build").await;
        let run = world.run(&pipeline).await;
        let now = world.now();
        let other = runs::request_cancel(&world.store, &elsewhere, &run.id, "u", now).await;
        assert_eq!(other.unwrap(), None);
        let asked = runs::request_cancel(&world.store, &organization, &run.id, "u", now).await;
        let mut asked = asked.unwrap().unwrap();
        assert_eq!((asked.cancel_requested_at, asked.version), (Some(now), 2));
        let again = runs::request_cancel(&world.store, &organization, &run.id, "v", now).await;
        assert_eq!(again.unwrap(), None);
        // Finishing keeps the wish, and there is nothing to cancel after it.
        asked.state = RunState::Canceled;
        asked.finished_at = Some(now);
        runs::update(&world.store, &asked).await.unwrap();
        let found = runs::find(&world.store, &organization, &run.id).await.unwrap().unwrap();
        assert_eq!(found.cancel_requested_by.as_deref(), Some("u"));

        let mut done = world.run(&pipeline).await;
        done.finished_at = Some(now);
        runs::update(&world.store, &done).await.unwrap();
        let late = runs::request_cancel(&world.store, &organization, &done.id, "u", now).await;
        assert_eq!(late.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_run_that_is_opened_again_has_no_wish_to_be_canceled_and_stale_tries_change_nothing() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let pipeline = world.pipeline(&organization, &owner, "Build").await;
        let run = world.run(&pipeline).await;
        let now = world.now();
        let asked = runs::request_cancel(&world.store, &organization, &run.id, "u", now).await;
        let mut run = asked.unwrap().unwrap();
        run.state = RunState::Canceled;
        run.finished_at = Some(now);
        let stale = run.clone();
        run.version = runs::update(&world.store, &run).await.unwrap();

        let refused = runs::reopen(&world.store, &stale).await;
        assert!(matches!(refused, Err(StoreError::Stale { current_version: Some(3), .. })));
        let found = runs::find(&world.store, &organization, &run.id).await.unwrap().unwrap();
        assert_eq!(found.cancel_requested_at, Some(now));

        run.state = RunState::Queued;
        run.finished_at = None;
        assert_eq!(runs::reopen(&world.store, &run).await.unwrap(), 4);
        let found = runs::find(&world.store, &organization, &run.id).await.unwrap().unwrap();
        assert_eq!((found.state, found.cancel_requested_at), (RunState::Queued, None));
        assert_eq!((found.cancel_requested_by, found.version), (None, 4));
    })
    .await;
}
