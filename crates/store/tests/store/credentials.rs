//! Credentials and their versions.

use keyferry_domain::credential::VersionState;
use keyferry_domain::lease::{EndReason, LeaseState};
use keyferry_store::leases::{self, LeaseRecord};
use keyferry_store::{Journal, StoreError, credentials};

use crate::journal::{entry, link};
use crate::world::{each, page_of};

#[tokio::test]
async fn another_organization_sees_and_changes_nothing() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let owner = world.member(&one).await;
        let mut record = world.credential(&one, &owner).await;
        let found = credentials::find(&world.store, &one, &record.id).await.unwrap();
        assert_eq!(found, Some(record.clone()));
        assert_eq!(credentials::find(&world.store, &two, &record.id).await.unwrap(), None);
        let version = credentials::find_version(&world.store, &two, &record.id, 1).await.unwrap();
        assert_eq!(version, None);
        assert!(credentials::versions(&world.store, &two, &record.id).await.unwrap().is_empty());
        let page = credentials::list(&world.store, &two, None, &page_of(9)).await.unwrap();
        assert!(page.items.is_empty());
        record.organization_id = two;
        let error = credentials::update(&world.store, &record).await.unwrap_err();
        assert!(matches!(error, StoreError::Stale { current_version: None, .. }));
    })
    .await;
}

#[tokio::test]
async fn a_replaced_version_stays_for_the_overlap_and_is_then_wiped() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let record = world.credential(&organization, &owner).await;
        let next = world.version_record(&record, 2);
        let until = world.after(900);
        let version = credentials::replace(&world.store, &record, &next, until).await.unwrap();
        assert_eq!(version, 2);
        let found = credentials::find(&world.store, &organization, &record.id).await.unwrap();
        assert_eq!(found.unwrap().current_number, 2);
        let versions =
            credentials::versions(&world.store, &organization, &record.id).await.unwrap();
        assert_eq!(
            versions.iter().map(|v| (v.number, v.state())).collect::<Vec<_>>(),
            [(2, VersionState::Current), (1, VersionState::Previous { until })]
        );

        let early = credentials::retire_due(&world.store, world.after(899), 10).await.unwrap();
        assert!(early.is_empty());
        let wiped = credentials::retire_due(&world.store, until, 10).await.unwrap();
        assert_eq!(wiped.iter().map(|v| v.number).collect::<Vec<_>>(), [1]);
        let first = credentials::find_version(&world.store, &organization, &record.id, 1);
        let first = first.await.unwrap().unwrap();
        assert_eq!((first.sealed.as_ref(), first.root_key.as_ref()), (None, None));
        assert_eq!(first.state(), VersionState::Retired { at: until });
        assert!(credentials::retire_due(&world.store, until, 10).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_version_stays_until_what_it_minted_is_taken_back_or_a_day_longer() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let journal = Journal::start(world.store.clone(), "main", link);
        let mut leases = Vec::new();
        let mut kept = Vec::new();
        for (handle, version, state) in [
            (Some("h"), 1, LeaseState::Active),
            (Some("h"), 1, LeaseState::Active),
            (None, 1, LeaseState::Active),
            (Some("h"), 2, LeaseState::Active),
        ] {
            let record = world.credential(&organization, &owner).await;
            let mut lease = world.lease(&organization, handle);
            lease.credential = record.id.clone();
            lease.credential_version = version;
            lease.state = state;
            journal.record(entry(world, Some(lease.clone()))).await.unwrap();
            leases.push(lease);
            credentials::delete(&world.store, &record, world.now(), world.now()).await.unwrap();
            kept.push(record.id);
        }
        journal.close().await;
        let retire = async |now| {
            let wiped = credentials::retire_due(&world.store, now, 10).await.unwrap();
            let mut ids: Vec<_> = wiped.into_iter().map(|version| version.credential_id).collect();
            ids.sort();
            ids
        };
        // Handed over as it is stored, or minted with another version: nothing to take back.
        assert_eq!(retire(world.now()).await, kept[2..]);
        let end = leases[0].clone().end(world.now(), EndReason::Revoked).unwrap();
        let mut record = LeaseRecord { lease: end, due_at: Some(world.now()), version: 1 };
        record.version = leases::update(&world.store, &record).await.unwrap();
        assert!(retire(world.after(60)).await.is_empty(), "it is not taken back yet");
        record.lease = record.lease.finish(world.after(60), None).unwrap();
        leases::update(&world.store, &record).await.unwrap();
        assert_eq!(retire(world.after(60)).await, kept[..1]);
        assert!(retire(world.after(24 * 60 * 60 - 1)).await.is_empty());
        assert_eq!(retire(world.after(24 * 60 * 60)).await, kept[1..2]);
    })
    .await;
}

#[tokio::test]
async fn of_two_replacements_at_once_one_is_stale_and_leaves_nothing() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let record = world.credential(&organization, &owner).await;
        let next = world.version_record(&record, 2);
        let until = world.after(900);
        let (a, b) = tokio::join!(
            credentials::replace(&world.store, &record, &next, until),
            credentials::replace(&world.store, &record, &next, until)
        );
        let lost: Vec<_> = [a, b].into_iter().filter_map(Result::err).collect();
        assert!(matches!(lost[..], [StoreError::Stale { .. }]), "{lost:?}");
        let versions =
            credentials::versions(&world.store, &organization, &record.id).await.unwrap();
        assert_eq!(versions.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_third_version_ends_the_overlap_of_the_first() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let mut record = world.credential(&organization, &owner).await;
        for number in [2, 3] {
            let next = world.version_record(&record, number);
            record.version =
                credentials::replace(&world.store, &record, &next, world.after(900)).await.unwrap();
            record.current_number = number;
        }
        let wiped = credentials::retire_due(&world.store, world.now(), 10).await.unwrap();
        assert_eq!(wiped.iter().map(|v| v.number).collect::<Vec<_>>(), [1]);
    })
    .await;
}

#[tokio::test]
async fn rolling_back_works_within_the_overlap_only() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let mut record = world.credential(&organization, &owner).await;
        let next = world.version_record(&record, 2);
        let until = world.after(900);
        record.version = credentials::replace(&world.store, &record, &next, until).await.unwrap();
        record.current_number = 2;

        let late = credentials::roll_back(&world.store, &record, 1, until, until).await;
        assert!(matches!(late, Err(StoreError::Stale { what: "credential version", .. })));
        let unknown = credentials::roll_back(&world.store, &record, 9, world.now(), until).await;
        assert!(matches!(unknown, Err(StoreError::Stale { .. })));
        let found = credentials::find(&world.store, &organization, &record.id).await.unwrap();
        assert_eq!(found.as_ref().map(|r| r.current_number), Some(2), "a failed try was kept");

        let version = credentials::roll_back(&world.store, &record, 1, world.now(), until).await;
        assert_eq!(version.unwrap(), 3);
        let versions =
            credentials::versions(&world.store, &organization, &record.id).await.unwrap();
        assert_eq!(
            versions.iter().map(|v| (v.number, v.state())).collect::<Vec<_>>(),
            [(2, VersionState::Previous { until }), (1, VersionState::Current)]
        );
    })
    .await;
}

#[tokio::test]
async fn a_deleted_credential_cannot_be_found_or_changed_and_is_wiped() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let mut record = world.credential(&organization, &owner).await;
        let gone = credentials::delete(&world.store, &record, world.now(), world.after(5)).await;
        assert_eq!(gone.unwrap(), 2);
        assert_eq!(credentials::find(&world.store, &organization, &record.id).await.unwrap(), None);
        let stone =
            credentials::find_with_deleted(&world.store, &organization, &record.id).await.unwrap();
        assert_eq!(stone.unwrap().deleted_at, Some(world.now()));
        let elsewhere = world.organization().await;
        let seen = credentials::find_with_deleted(&world.store, &elsewhere, &record.id).await;
        assert_eq!(seen.unwrap(), None);
        record.version = 2;
        assert!(credentials::update(&world.store, &record).await.is_err());
        let next = world.version_record(&record, 2);
        let replaced = credentials::replace(&world.store, &record, &next, world.after(9)).await;
        assert!(matches!(replaced, Err(StoreError::Stale { .. })));
        let kept = credentials::find_version(&world.store, &organization, &record.id, 1).await;
        assert!(kept.unwrap().unwrap().sealed.is_some());
        let wiped = credentials::retire_due(&world.store, world.after(5), 10).await.unwrap();
        assert_eq!(wiped.len(), 1);
        let page = credentials::list(&world.store, &organization, None, &page_of(9)).await;
        assert!(page.unwrap().items.is_empty());
    })
    .await;
}

#[tokio::test]
async fn only_the_seal_that_was_read_is_replaced() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let record = world.credential(&organization, &owner).await;
        let due = credentials::list_to_reseal(&world.store, "root-2", 10).await.unwrap();
        assert_eq!(due.len(), 1);
        assert!(credentials::reseal(&world.store, &due[0], "anew", "root-2").await.unwrap());
        assert!(!credentials::reseal(&world.store, &due[0], "again", "root-2").await.unwrap());
        assert!(credentials::list_to_reseal(&world.store, "root-2", 10).await.unwrap().is_empty());
        let version = credentials::find_version(&world.store, &organization, &record.id, 1).await;
        assert_eq!(version.unwrap().unwrap().sealed.as_deref(), Some("anew"));
    })
    .await;
}

#[tokio::test]
async fn lists_are_of_one_owner_when_asked() {
    each(async |world| {
        let organization = world.organization().await;
        let (ann, bob) = (world.member(&organization).await, world.member(&organization).await);
        let of_ann = world.credential(&organization, &ann).await;
        let mut of_bob = world.credential(&organization, &bob).await;
        let page = credentials::list(&world.store, &organization, Some(&ann), &page_of(9)).await;
        assert_eq!(page.unwrap().items, [of_ann.clone()]);
        of_bob.owner_id = ann.clone();
        assert_eq!(credentials::update(&world.store, &of_bob).await.unwrap(), 2);
        let page = credentials::list(&world.store, &organization, Some(&ann), &page_of(9)).await;
        assert_eq!(page.unwrap().items.len(), 2);
    })
    .await;
}
