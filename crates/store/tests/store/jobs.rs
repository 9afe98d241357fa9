//! Jobs: claims, heartbeats, tokens.

use std::collections::BTreeMap;

use keyferry_domain::id::{OrganizationId, RunnerId};
use keyferry_domain::lease::Holder;
use keyferry_domain::run::{Isolation, JobState, StepState};
use keyferry_store::jobs::{self, Claim};
use keyferry_store::{Journal, StoreError, jobs::JobRecord, run_logs, steps};

use crate::journal::{entry, link};
use crate::world::{World, each};

fn claim(world: &World, organization: Option<&OrganizationId>) -> Claim {
    let runner = world.runner_id();
    Claim {
        token_hash: format!("hash-for-{runner}"),
        runner,
        organization: organization.cloned(),
        isolation: Isolation::Namespaces,
        heartbeat_due_at: world.after(30),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_runners_share_two_hundred_jobs_and_none_twice() {
    each(async |world| {
        let queued = world.queued_jobs(200).await;
        let now = world.now();
        let runners: Vec<_> = (0..8)
            .map(|number| {
                let (store, claim) = (world.store.clone(), claim(world, None));
                let claim_of = move |turn: usize| Claim {
                    token_hash: format!("hash-{number}-{turn}"),
                    ..claim.clone()
                };
                tokio::spawn(async move {
                    let mut ids = Vec::new();
                    while let Some(job) =
                        jobs::claim_job(&store, &claim_of(ids.len()), now).await.unwrap()
                    {
                        assert_eq!((job.state, job.version), (JobState::Running, 2));
                        ids.push(job.id);
                    }
                    ids
                })
            })
            .collect();
        let mut claimed = Vec::new();
        for runner in runners {
            claimed.extend(runner.await.unwrap());
        }
        claimed.sort();
        let mut expected: Vec<_> = queued.into_iter().map(|job| job.id).collect();
        expected.sort();
        assert_eq!(claimed, expected);
    })
    .await;
}

#[tokio::test]
async fn a_runner_of_one_organization_gets_no_other_ones_job() {
    each(async |world| {
        let job = world.queued_jobs(1).await.remove(0);
        let stranger = world.organization().await;
        let now = world.now();
        let other = jobs::claim_job(&world.store, &claim(world, Some(&stranger)), now).await;
        assert_eq!(other.unwrap(), None);
        let own = claim(world, Some(&job.organization_id));
        let got = jobs::claim_job(&world.store, &own, now).await.unwrap().unwrap();
        assert_eq!((got.id, got.runner_id), (job.id, Some(own.runner)));
        assert_eq!(got.isolation, Some(Isolation::Namespaces));
        assert_eq!(got.started_at, Some(now));
    })
    .await;
}

#[tokio::test]
async fn the_job_that_waits_longest_comes_first_and_waiting_ones_never() {
    each(async |world| {
        let queued = world.queued_jobs(2).await;
        let mut early = queued[1].clone();
        early.queued_at = Some(world.now().minus(std::time::Duration::from_mins(1)));
        jobs::update(&world.store, &early).await.unwrap();
        let waiting = JobRecord {
            id: world.job_id(),
            key: "waiting".to_owned(),
            state: JobState::Waiting,
            queued_at: None,
            ..queued[0].clone()
        };
        jobs::create(&world.store, &waiting).await.unwrap();
        let mut order = Vec::new();
        for _ in 0..3 {
            let got = jobs::claim_job(&world.store, &claim(world, None), world.now()).await;
            order.extend(got.unwrap().map(|job| job.id));
        }
        assert_eq!(order, [queued[1].id.clone(), queued[0].id.clone()]);
    })
    .await;
}

#[tokio::test]
async fn a_job_is_found_by_its_token_and_only_in_its_organization() {
    each(async |world| {
        let job = world.queued_jobs(1).await.remove(0);
        let stranger = world.organization().await;
        let claim = claim(world, None);
        jobs::claim_job(&world.store, &claim, world.now()).await.unwrap();
        let found = jobs::find_by_token(&world.store, &claim.token_hash).await.unwrap();
        assert_eq!(found.map(|job| job.id), Some(job.id.clone()));
        assert_eq!(jobs::find_by_token(&world.store, "other").await.unwrap(), None);
        assert_eq!(jobs::find(&world.store, &stranger, &job.id).await.unwrap(), None);
        let listed = jobs::list_by_run(&world.store, &stranger, &job.run_id).await.unwrap();
        assert!(listed.is_empty());
        assert!(jobs::find_anywhere(&world.store, &job.id).await.unwrap().is_some());
        let same = JobRecord { id: world.job_id(), ..job.clone() };
        let taken = jobs::create(&world.store, &same).await;
        assert!(matches!(taken, Err(StoreError::AlreadyExists { what: "job" })));
        let retry = JobRecord { attempt: 2, ..same };
        jobs::create(&world.store, &retry).await.unwrap();
        let listed = jobs::list_by_run(&world.store, &job.organization_id, &job.run_id).await;
        let attempts: Vec<_> = listed.unwrap().iter().map(|job| job.attempt).collect();
        assert_eq!(attempts, [1, 2]);
    })
    .await;
}

#[tokio::test]
async fn only_the_runner_that_has_a_running_job_keeps_it_alive() {
    each(async |world| {
        let job = world.queued_jobs(1).await.remove(0);
        let (organization, id) = (&job.organization_id, &job.id);
        let uses = BTreeMap::from([("staging".to_owned(), 3_u64)]);
        let beat = async |runner: &RunnerId, organization: &OrganizationId| {
            let due_at = world.after(90);
            let now = world.now();
            jobs::heartbeat(&world.store, organization, id, runner, now, due_at, &uses)
                .await
                .unwrap()
        };
        let claim = claim(world, None);
        assert!(!beat(&claim.runner, organization).await, "nobody has it yet");
        jobs::claim_job(&world.store, &claim, world.now()).await.unwrap();
        assert!(!beat(&world.runner_id(), organization).await);
        assert!(!beat(&claim.runner, &world.organization().await).await);
        assert!(beat(&claim.runner, organization).await);
        let mut found = jobs::find(&world.store, organization, id).await.unwrap().unwrap();
        assert_eq!((&found.uses, found.version), (&uses, 2));
        found.state = JobState::Succeeded;
        found.token_hash = None;
        jobs::update(&world.store, &found).await.unwrap();
        assert!(!beat(&claim.runner, organization).await, "it is over");
        assert_eq!(jobs::find_by_token(&world.store, &claim.token_hash).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_silent_runner_is_noticed_after_its_limit_and_one_server_ends_the_job() {
    each(async |world| {
        world.queued_jobs(2).await;
        jobs::claim_job(&world.store, &claim(world, None), world.now()).await.unwrap();
        let due = world.after(30);
        let early = world.after(29);
        let missed = jobs::jobs_with_missed_heartbeat(&world.store, early, 9).await.unwrap();
        assert!(missed.is_empty());
        let mut missed = jobs::jobs_with_missed_heartbeat(&world.store, due, 9).await.unwrap();
        assert_eq!(missed.len(), 1);
        let mut lost = missed.remove(0);
        lost.state = JobState::Failed;
        lost.heartbeat_due_at = None;
        let end = async |now| jobs::update_silent(&world.store, &lost, now).await;
        assert!(matches!(end(early).await, Err(StoreError::Stale { what: "job", .. })));
        let (a, b) = tokio::join!(end(due), end(due));
        assert_eq!([a, b].iter().filter(|result| result.is_ok()).count(), 1);
        let missed = jobs::jobs_with_missed_heartbeat(&world.store, due, 9).await.unwrap();
        assert!(missed.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_job_that_was_heard_of_since_it_was_read_is_not_ended_as_silent() {
    each(async |world| {
        let job = world.queued_jobs(1).await.remove(0);
        let claim = claim(world, None);
        jobs::claim_job(&world.store, &claim, world.now()).await.unwrap();
        let late = world.after(31);
        let mut missed = jobs::jobs_with_missed_heartbeat(&world.store, late, 9).await.unwrap();
        let mut lost = missed.remove(0);
        lost.state = JobState::Failed;
        lost.heartbeat_due_at = None;
        // Both at the same moment: one of them is told so.
        let (organization, runner, uses) = (&job.organization_id, &claim.runner, BTreeMap::new());
        let due_at = world.after(61);
        let (heard, ended) = tokio::join!(
            jobs::heartbeat(&world.store, organization, &job.id, runner, late, due_at, &uses),
            jobs::update_silent(&world.store, &lost, late),
        );
        assert_ne!(heard.unwrap(), ended.is_ok());
        let found = jobs::find(&world.store, organization, &job.id).await.unwrap().unwrap();
        let is_running = found.state == JobState::Running;
        assert_ne!(is_running, ended.is_ok());
        if is_running {
            assert!(matches!(ended, Err(StoreError::Stale { what: "job", .. })));
            let again = jobs::update_silent(&world.store, &lost, late).await;
            assert!(matches!(again, Err(StoreError::Stale { what: "job", .. })));
            jobs::update_silent(&world.store, &lost, due_at).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn the_open_jobs_of_a_run_end_at_once_and_those_of_others_do_not() {
    each(async |world| {
        let job = world.queued_jobs(1).await.remove(0);
        let other = world.queued_jobs(1).await.remove(0);
        let (organization, run) = (&job.organization_id, &job.run_id);
        let claim = claim(world, Some(organization));
        jobs::claim_job(&world.store, &claim, world.now()).await.unwrap();
        let mut ids = vec![job.id.clone()];
        for (key, state) in [("waiting", JobState::Waiting), ("over", JobState::Succeeded)] {
            let key = key.to_owned();
            let next = JobRecord { id: world.job_id(), key, state, ..job.clone() };
            jobs::create(&world.store, &next).await.unwrap();
            ids.push(next.id);
        }
        let end = async |organization: &OrganizationId| {
            let (failed, why) = (JobState::Failed, "unreadable");
            let now = world.after(5);
            let ended = jobs::end_open(&world.store, organization, run, failed, why, now).await;
            let mut ended = ended.unwrap();
            ended.sort();
            ended
        };
        assert_eq!(end(&world.organization().await).await, []);
        assert_eq!(end(organization).await, ids[..2]);
        assert_eq!(end(organization).await, []);
        for id in &ids[..2] {
            let over = jobs::find(&world.store, organization, id).await.unwrap().unwrap();
            assert_eq!(
                (over.state, over.reason.as_deref()),
                (JobState::Failed, Some("unreadable"))
            );
            assert_eq!(over.finished_at, Some(world.after(5)));
            assert_eq!((over.token_hash, over.heartbeat_due_at), (None, None));
        }
        for (organization, id, state) in [
            (organization, &ids[2], JobState::Succeeded),
            (&other.organization_id, &other.id, JobState::Queued),
        ] {
            let found = jobs::find(&world.store, organization, id).await.unwrap().unwrap();
            assert_eq!(found.state, state);
        }
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_was_never_heard_of_is_taken_back_once_and_its_token_ends() {
    each(async |world| {
        let job = world.queued_jobs(1).await.remove(0);
        let first = claim(world, None);
        let claimed = jobs::claim_job(&world.store, &first, world.now()).await.unwrap().unwrap();
        let requeue = async |job: &JobRecord, seconds| {
            jobs::requeue_unheard(&world.store, job, world.after(seconds)).await.unwrap()
        };
        assert!(!requeue(&claimed, 29).await, "its time is not up");
        let (a, b) = tokio::join!(requeue(&claimed, 30), requeue(&claimed, 30));
        assert!(a != b, "{a} {b}");
        let found = jobs::find(&world.store, &job.organization_id, &job.id).await.unwrap().unwrap();
        assert_eq!((found.state, found.lost_claims, found.version), (JobState::Queued, 1, 3));
        assert_eq!((found.queued_at, found.started_at), (job.queued_at, None));
        assert_eq!((&found.runner_id, &found.token_hash, found.isolation), (&None, &None, None));
        assert_eq!(jobs::find_by_token(&world.store, &first.token_hash).await.unwrap(), None);
        let second = claim(world, None);
        let again = jobs::claim_job(&world.store, &second, world.now()).await.unwrap().unwrap();
        assert_eq!((again.id, again.attempt), (job.id, 1));
    })
    .await;
}

#[tokio::test]
async fn a_job_that_has_shown_any_sign_of_life_is_not_given_again() {
    each(async |world| {
        for sign in ["heartbeat", "step", "log", "lease", "end"] {
            let job = world.queued_jobs(1).await.remove(0);
            let claim = claim(world, Some(&job.organization_id));
            let claimed =
                jobs::claim_job(&world.store, &claim, world.now()).await.unwrap().unwrap();
            show(world, sign, &claimed).await;
            let later = world.after(60);
            let taken_back = jobs::requeue_unheard(&world.store, &claimed, later).await.unwrap();
            assert!(!taken_back, "{sign}");
            let found = jobs::find(&world.store, &job.organization_id, &job.id).await;
            let found = found.unwrap().unwrap();
            assert_eq!(found.lost_claims, 0, "{sign}");
            assert_ne!(found.state, JobState::Queued, "{sign}");
        }
    })
    .await;
}

/// Has a job that was claimed show a sign of life, all at the first moment.
async fn show(world: &World, sign: &str, job: &JobRecord) {
    let (organization, id) = (job.organization_id.clone(), job.id.clone());
    let (now, store) = (world.now(), &world.store);
    match sign {
        "heartbeat" => {
            let (runner, due_at) = (job.runner_id.as_ref().unwrap(), world.after(30));
            let uses = BTreeMap::new();
            let beat = jobs::heartbeat(store, &organization, &id, runner, now, due_at, &uses);
            assert!(beat.await.unwrap());
        }
        "step" => {
            let step = steps::StepRecord {
                organization_id: organization,
                job_id: id,
                key: "compile".to_owned(),
                position: 0,
                name: "Compile".to_owned(),
                state: StepState::Running,
                reason: None,
                started_at: Some(now),
                finished_at: None,
                version: 1,
            };
            steps::create(store, &step).await.unwrap();
        }
        "log" => {
            let chunk = run_logs::LogChunkRecord {
                organization_id: organization,
                job_id: id,
                sequence: 1,
                text: "hello".to_owned(),
                at: now,
            };
            assert!(run_logs::append(store, &chunk).await.unwrap());
        }
        "lease" => {
            let mut lease = world.lease(&organization, None);
            lease.holder = Holder::Job { run: job.run_id.clone(), job: id };
            let journal = Journal::start(store.clone(), "main", link);
            journal.record(entry(world, Some(lease))).await.unwrap();
            journal.close().await;
        }
        _ => {
            let over = JobRecord { state: JobState::Succeeded, ..job.clone() };
            jobs::update(store, &over).await.unwrap();
        }
    }
}
