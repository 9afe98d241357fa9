//! Leases.

use std::time::Duration;

use keyferry_domain::Timestamp;
use keyferry_domain::id::OrganizationId;
use keyferry_domain::lease::{EndReason, Holder, Lease, LeaseState, Residue};
use keyferry_store::leases::{self, LeaseFilter, LeaseRecord};
use keyferry_store::{Journal, StoreError};

use crate::journal::{entry, link};
use crate::world::{World, each, page_after, page_of};

/// Stores leases as the product does: with an audit event each.
async fn store(world: &World, all: &[&Lease]) {
    let journal = Journal::start(world.store.clone(), "main", link);
    for lease in all {
        journal.record(entry(world, Some((*lease).clone()))).await.unwrap();
    }
    journal.close().await;
}

async fn find(world: &World, lease: &Lease) -> LeaseRecord {
    leases::find(&world.store, &lease.organization, &lease.id).await.unwrap().unwrap()
}

async fn claim(
    world: &World,
    now: Timestamp,
    retry_at: Timestamp,
) -> keyferry_store::Result<Vec<LeaseRecord>> {
    leases::claim_due(&world.store, now, retry_at, 100, 100, &[]).await
}

#[tokio::test]
async fn a_lease_comes_back_as_it_was_stored_and_only_to_its_organization() {
    each(async |world| {
        let (one, two) = (world.organization_id(), world.organization_id());
        let mut lease = world.lease(&one, Some("keyferry-1"));
        lease.holder = Holder::Job { run: world.run_id(), job: world.job_id() };
        lease.residue = Some(Residue { what: "a token".to_owned(), until: Some(world.after(5)) });
        let plain = world.lease(&one, None);
        store(world, &[&lease, &plain]).await;
        assert_eq!(find(world, &lease).await, LeaseRecord::new(lease.clone()));
        assert_eq!(find(world, &plain).await, LeaseRecord::new(plain));
        assert_eq!(leases::find(&world.store, &two, &lease.id).await.unwrap(), None);
        let all = LeaseFilter::default();
        assert!(
            leases::list(&world.store, &two, &all, &page_of(9)).await.unwrap().items.is_empty()
        );
    })
    .await;
}

#[tokio::test]
async fn states_are_written_by_compare_and_set() {
    each(async |world| {
        let organization = world.organization_id();
        let lease = world.lease(&organization, Some("h"));
        store(world, &[&lease]).await;
        let mut record = LeaseRecord::new(lease.clone().activate(world.after(1)).unwrap());
        record.version = leases::update(&world.store, &record).await.unwrap();
        assert_eq!(find(world, &lease).await, record);
        let stale = LeaseRecord::new(lease.clone());
        let error = leases::update(&world.store, &stale).await.unwrap_err();
        assert!(matches!(error, StoreError::Stale { what: "lease", current_version: Some(2) }));
        let ending = record.lease.end(world.now(), EndReason::Revoked).unwrap();
        let ended = ending.finish(world.after(1), None).unwrap();
        record = LeaseRecord { lease: ended, due_at: None, version: 2 };
        assert_eq!(leases::update(&world.store, &record).await.unwrap(), 3);
        assert_eq!(find(world, &lease).await.lease.state, record.lease.state);
    })
    .await;
}

#[tokio::test]
async fn what_was_cut_short_is_found_by_its_holder_while_its_time_is_not_up() {
    each(async |world| {
        let organization = world.organization_id();
        let live = world.lease(&organization, None);
        let [mut minted, mut stored, mut other] =
            [Some("h"), None, None].map(|handle| world.lease(&organization, handle));
        for lease in [&mut minted, &mut stored] {
            lease.holder = live.holder.clone();
            lease.expires_at = live.expires_at;
        }
        other.holder = Holder::Workload { workload: world.workload_id() };
        store(world, &[&live, &minted, &stored, &other]).await;
        let holder = live.holder.id();
        let cut_short = async |organization: &OrganizationId, now| {
            leases::list_cut_short(&world.store, organization, holder, now).await.unwrap()
        };
        assert_eq!(cut_short(&organization, world.now()).await, []);
        for lease in [&minted, &stored, &other] {
            let record =
                LeaseRecord::new(lease.clone().end(world.now(), EndReason::Revoked).unwrap());
            leases::update(&world.store, &record).await.unwrap();
        }
        let ended = [minted.id, stored.id];
        assert_eq!(cut_short(&organization, world.now()).await, ended);
        assert_eq!(cut_short(&world.organization_id(), world.now()).await, []);
        let last = live.expires_at.minus(Duration::from_millis(1));
        assert_eq!(cut_short(&organization, last).await, ended);
        assert_eq!(cut_short(&organization, live.expires_at).await, []);
    })
    .await;
}

#[tokio::test]
async fn ends_in_sql_are_the_ends_of_the_domain() {
    each(async |world| {
        let (one, two) = (world.organization_id(), world.organization_id());
        let minted = world.lease(&one, Some("h"));
        let mut stored = world.lease(&one, None);
        stored.holder = minted.holder.clone();
        let mut elsewhere = world.lease(&two, None);
        elsewhere.holder = minted.holder.clone();
        let other = world.lease(&one, Some("i"));
        store(world, &[&minted, &stored, &elsewhere, &other]).await;
        let now = world.after(9);
        let reason = EndReason::HolderEnded;
        let ended =
            leases::end_by_holder(&world.store, &one, minted.holder.id(), reason, now).await;
        let ended = ended.unwrap();
        assert_eq!(ended.len(), 2);
        for record in &ended {
            let before = if record.lease.id == minted.id { &minted } else { &stored };
            assert_eq!(record.lease, before.clone().end(now, reason).unwrap());
            assert_eq!(record.due_at, before.handle.as_ref().map(|_| now));
            assert_eq!(record.version, 2);
            assert_eq!(find(world, before).await, *record);
        }
        assert_eq!(find(world, &elsewhere).await.lease.state, LeaseState::Pending);
        assert_eq!(find(world, &other).await.lease.state, LeaseState::Pending);
        let again =
            leases::end_by_holder(&world.store, &one, minted.holder.id(), reason, now).await;
        assert!(again.unwrap().is_empty(), "what has ended is ended once");

        let staging = "staging".parse().unwrap();
        let reason = EndReason::ConnectionEnded;
        let ended = leases::end_by_connection(&world.store, &one, &staging, reason, now).await;
        assert_eq!(ended.unwrap().len(), 1);
        assert_eq!(find(world, &elsewhere).await.lease.state, LeaseState::Pending);
    })
    .await;
}

#[tokio::test]
async fn leases_end_when_their_time_is_up_or_their_server_died() {
    each(async |world| {
        let organization = world.organization_id();
        let mut short = world.lease(&organization, None);
        short.expires_at = world.after(10);
        let mut active = world.lease(&organization, Some("h"));
        active.state = LeaseState::Active;
        let pending = world.lease(&organization, Some("i"));
        store(world, &[&short, &active, &pending]).await;
        let none = leases::end_expired(&world.store, world.after(9), 10).await.unwrap();
        assert!(none.is_empty());
        let expired = leases::end_expired(&world.store, world.after(10), 10).await.unwrap();
        assert_eq!(expired.iter().map(|r| &r.lease.id).collect::<Vec<_>>(), [&short.id]);

        let now = world.after(120);
        let early = leases::end_abandoned(&world.store, pending.issued_at, now, 10).await.unwrap();
        assert!(early.is_empty());
        let abandoned = leases::end_abandoned(&world.store, world.after(60), now, 10).await;
        let abandoned = abandoned.unwrap();
        assert_eq!(abandoned.iter().map(|r| &r.lease.id).collect::<Vec<_>>(), [&pending.id]);
        assert_eq!(
            abandoned[0].lease.state,
            LeaseState::Ending { since: now, reason: EndReason::MintFailed }
        );
        assert_eq!(find(world, &active).await.lease.state, LeaseState::Active);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_due_revocation_is_claimed_by_one_and_comes_up_again() {
    each(async |world| {
        let organization = world.organization_id();
        let all: Vec<_> =
            (0..60).map(|n| world.lease(&organization, Some(&format!("h{n}")))).collect();
        store(world, &all.iter().collect::<Vec<_>>()).await;
        let (now, retry_at) = (world.now(), world.after(30));
        let staging = "staging".parse().unwrap();
        let reason = EndReason::Revoked;
        leases::end_by_connection(&world.store, &organization, &staging, reason, now)
            .await
            .unwrap();
        let claims: Vec<_> = (0..8)
            .map(|_| {
                let store = world.store.clone();
                tokio::spawn(async move {
                    let mut ids = Vec::new();
                    for _ in 0..20 {
                        let due =
                            leases::claim_due(&store, now, retry_at, 5, 60, &[]).await.unwrap();
                        ids.extend(due.into_iter().map(|record| record.lease.id));
                    }
                    ids
                })
            })
            .collect();
        let mut claimed = Vec::new();
        for claim in claims {
            claimed.extend(claim.await.unwrap());
        }
        claimed.sort();
        assert_eq!(claimed, all.iter().map(|lease| lease.id.clone()).collect::<Vec<_>>());

        let early = retry_at.minus(Duration::from_millis(1));
        let none = claim(world, early, world.after(60)).await.unwrap();
        assert!(none.is_empty());
        let mut again = claim(world, retry_at, world.after(60)).await.unwrap();
        assert_eq!(again.len(), 60);
        let mut failed = again.remove(0);
        failed.lease.attempts += 1;
        failed.lease.last_error = Some("the service did not answer".to_owned());
        failed.due_at = Some(world.after(300));
        leases::update(&world.store, &failed).await.unwrap();
        let due = claim(world, world.after(60), world.after(90)).await;
        assert_eq!(due.unwrap().len(), 59, "the failed one backs off");
    })
    .await;
}

#[tokio::test]
async fn no_connection_is_given_more_than_its_share_of_a_claim() {
    each(async |world| {
        let (one, two) = (world.organization_id(), world.organization_id());
        let mut all = Vec::new();
        for (organization, connection, count) in
            [(&one, "dead", 5), (&one, "alive", 1), (&two, "dead", 1)]
        {
            for _ in 0..count {
                let mut lease = world.lease(organization, Some("h"));
                lease.connection = connection.parse().unwrap();
                all.push(lease);
            }
        }
        store(world, &all.iter().collect::<Vec<_>>()).await;
        let (now, retry_at) = (world.now(), world.after(30));
        for lease in &all {
            leases::end_by_holder(
                &world.store,
                &lease.organization,
                lease.holder.id(),
                EndReason::HolderEnded,
                now,
            )
            .await
            .unwrap();
        }
        let key = |record: &LeaseRecord| {
            (record.lease.organization.clone(), record.lease.connection.clone())
        };
        let dead = (one.clone(), "dead".parse().unwrap());
        let claim = async |limit, busy: &[leases::ConnectionKey]| {
            leases::claim_due(&world.store, now, retry_at, limit, 2, busy).await.unwrap()
        };
        assert!(claim(0, &[]).await.is_empty());
        let first = claim(16, &[]).await;
        assert_eq!(first.len(), 4, "two of the one, one of each other");
        assert_eq!(first.iter().filter(|record| key(record) == dead).count(), 2);
        let busy = [dead.clone(), (two.clone(), "alive".parse().unwrap())];
        assert!(claim(16, &busy).await.is_empty(), "the rest waits for the two");
        let second = claim(1, &[]).await;
        assert_eq!(second.iter().map(key).collect::<Vec<_>>(), [dead]);
    })
    .await;
}

#[tokio::test]
async fn lists_are_newest_first_and_filtered() {
    each(async |world| {
        let organization = world.organization_id();
        let first = world.lease(&organization, Some("h"));
        let second = world.lease(&organization, None);
        let mut third = world.lease(&organization, None);
        third.connection = "other".parse().unwrap();
        store(world, &[&first, &second, &third]).await;
        let reason = EndReason::HolderEnded;
        leases::end_by_holder(&world.store, &organization, second.holder.id(), reason, world.now())
            .await
            .unwrap();
        let ids = async |wanted: LeaseFilter| {
            let page = leases::list(&world.store, &organization, &wanted, &page_of(9)).await;
            page.unwrap().items.into_iter().map(|record| record.lease.id).collect::<Vec<_>>()
        };
        let all = LeaseFilter::default();
        let expected = [third.id.clone(), second.id.clone(), first.id.clone()];
        assert_eq!(ids(all.clone()).await, expected);
        let live = LeaseFilter { is_live: true, ..all.clone() };
        assert_eq!(ids(live.clone()).await, [third.id.clone(), first.id.clone()]);
        let staging = Some("staging".parse().unwrap());
        assert_eq!(ids(LeaseFilter { connection: staging, ..live }).await, [first.id.clone()]);
        let ended = LeaseFilter { state: Some("ended".to_owned()), ..all.clone() };
        assert_eq!(ids(ended).await, [second.id.clone()]);
        let holder = Some(third.holder.id().to_owned());
        assert_eq!(ids(LeaseFilter { holder, ..all.clone() }).await, [third.id.clone()]);

        let page = leases::list(&world.store, &organization, &all, &page_of(2)).await.unwrap();
        let rest = page_after(2, page.next_cursor);
        let rest = leases::list(&world.store, &organization, &all, &rest).await.unwrap();
        assert_eq!(rest.items[0].lease.id, first.id);
    })
    .await;
}
