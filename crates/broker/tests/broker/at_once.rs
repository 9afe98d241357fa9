//! What happens at the same moment as something else: what the broker has read is changed before it
//! writes. Nothing is lost by that, and nothing is said to be done that is not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keyferry_broker::leases::LeaseFilter;
use keyferry_domain::Clock as _;
use keyferry_domain::actor::Identity;
use keyferry_domain::lease::{EndReason, Lease, LeaseState};
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::page::PageRequest;
use keyferry_domain::run::{JobState, RunState};
use keyferry_store::{Change, Store, StoreOptions, jobs, leases};

use crate::fixture::{TestBroker, eventually};
use crate::gitea::Gitea;
use crate::scenes::{TWO_STAGES, claim_next, finish, job, pipeline, run, runner, start};

/// How long a call has to read, before what it has read is changed.
const READING: Duration = Duration::from_millis(500);

/// Makes a change while a call that has read already waits to write: SQLite has one writer.
async fn with_change_between<T>(
    test: &TestBroker,
    call: impl Future<Output = T>,
    between: impl AsyncFnOnce(&mut Change),
) -> T {
    let store = Store::open(&test.url, StoreOptions::default()).await.unwrap();
    let mut change = store.begin().await.unwrap();
    let changing = async {
        tokio::time::sleep(READING).await;
        between(&mut change).await;
        change.commit().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(call, changing);
    store.close().await;
    outcome
}

async fn only_lease(test: &TestBroker) -> Lease {
    let (page, all) = (PageRequest { limit: 50, cursor: None }, LeaseFilter::default());
    let found = test.broker.list_leases(&test.owner, &test.organization, &all, &page).await;
    let mut found = found.unwrap().items;
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_handed_over_while_somebody_ends_it_is_ended() {
    let test = TestBroker::start().await;
    let organization = &test.organization;
    let gitea = Gitea::start("secret-1").await;
    let forge = test.connect("forge", gitea.url(), "secret-1").await;
    let holder = test.workload(&test.owner, &[forge.clone()]).await;
    gitea.hold_answers(true);
    let asking = {
        let (broker, organization) = (Arc::clone(&test.broker), organization.clone());
        let read =
            Operation::Git { repository: Some("team/app".parse().unwrap()), access: Access::Read };
        tokio::spawn(async move { broker.issue_lease(&holder, &organization, &forge, &read).await })
    };
    eventually("the mint", || gitea.minted() == 1).await;
    let pending = only_lease(&test).await;
    assert_eq!(pending.state, LeaseState::Pending);
    let id = pending.id.clone();
    let ending = Box::pin(test.broker.end_lease(&test.owner, organization, &id));
    let ended = with_change_between(&test, ending, async |change| {
        let record = leases::find(&mut *change, organization, &id).await.unwrap().unwrap();
        let lease = record.lease.activate(test.clock.now()).unwrap();
        leases::update(change, &leases::LeaseRecord::new(lease)).await.unwrap();
    });
    ended.await.unwrap();
    let state = only_lease(&test).await.state;
    assert!(
        matches!(state, LeaseState::Ending { reason: EndReason::Revoked, .. }),
        "said to be ended, and is {state:?}"
    );
    assert_eq!(test.events("lease.end").await.len(), 1);
    gitea.hold_answers(false);
    // What the test wrote in its place, the mint finds changed.
    asking.await.unwrap().unwrap_err();
    test.advance(61);
    test.broker.sweep_leases(&test.broker.system_actor()).await.unwrap();
    assert_eq!(gitea.live_tokens(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_heard_of_at_the_last_moment_is_not_lost() {
    for (has_begun, is_canceled) in [(true, false), (false, false), (true, true)] {
        let test = TestBroker::start().await;
        let machine = runner(&test, "machine").await;
        let Identity::Runner { runner: machine_id, .. } = &machine.identity else {
            panic!("{machine:?}")
        };
        let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
        let started = start(&test, &test.owner, &id).await.run.id;
        let (claimed, actor) = claim_next(&test, &machine).await;
        if has_begun {
            test.broker.heartbeat(&actor, BTreeMap::new()).await.unwrap();
        }
        if is_canceled {
            test.broker.cancel_run(&test.owner, &test.organization, &started).await.unwrap();
        }
        test.advance(31);
        let system = test.broker.system_actor();
        let sweeping = Box::pin(test.broker.sweep_runs(&system));
        with_change_between(&test, sweeping, async |change| {
            let (now, uses) = (test.clock.now(), BTreeMap::new());
            let due_at = now.plus(Duration::from_secs(30));
            let organization = &claimed.organization;
            let is_alive =
                jobs::heartbeat(change, organization, &claimed.job, machine_id, now, due_at, &uses);
            assert!(is_alive.await.unwrap());
        })
        .await
        .unwrap();
        let alive = run(&test, &started).await;
        let state = job(&alive, "build.compile").0.state;
        assert_eq!(state, JobState::Running, "begun: {has_begun}, canceled: {is_canceled}");
        assert_eq!(test.events("job.finish").await.len(), 0);
        assert_eq!(test.events("job.requeue").await.len(), 0);
        test.broker.heartbeat(&actor, BTreeMap::new()).await.unwrap();
        if is_canceled {
            finish(&test, &actor, JobState::Canceled, None).await.unwrap();
        } else {
            // And when it falls silent after all, it is lost.
            test.advance(31);
            test.broker.sweep_runs(&system).await.unwrap();
            assert_eq!(run(&test, &started).await.run.state, RunState::Failed);
        }
        assert_eq!(test.events("job.finish").await.len(), 1);
    }
}
