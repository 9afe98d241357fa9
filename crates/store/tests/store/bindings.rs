//! Bindings.

use keyferry_store::bindings::{self, BindingState};
use keyferry_store::{StoreError, bindings::BindingRecord};

use crate::world::each;

#[tokio::test]
async fn a_place_has_one_binding_per_connection_and_stale_approvals_lose() {
    each(async |world| {
        let (organization, elsewhere) = (world.organization().await, world.organization().await);
        let owner = world.member(&organization).await;
        let credential = world.credential(&organization, &owner).await;
        let connection = world.connection(&credential, "staging").await;
        let pipeline = world.pipeline(&organization, &owner, "Build").await;
        let mut binding = world.binding_record(&pipeline, &connection.id, "job build");
        bindings::create(&world.store, &binding).await.unwrap();
        let same = BindingRecord { id: world.binding_id(), ..binding.clone() };
        let taken = bindings::create(&world.store, &same).await;
        assert!(matches!(taken, Err(StoreError::AlreadyExists { what: "binding" })));

        binding.state = BindingState::Approved;
        binding.approved_by = Some(owner.clone());
        binding.approved_at = Some(world.now());
        assert_eq!(bindings::update(&world.store, &binding).await.unwrap(), 2);
        binding.state = BindingState::Revoked;
        let stale = bindings::update(&world.store, &binding).await;
        assert!(matches!(stale, Err(StoreError::Stale { current_version: Some(2), .. })));
        let find = bindings::find_by_place(
            &world.store,
            &organization,
            &pipeline.id,
            "job build",
            &connection.id,
        );
        assert_eq!(find.await.unwrap().unwrap().state, BindingState::Approved);
        let found = bindings::find(&world.store, &organization, &binding.id).await.unwrap();
        assert_eq!(found.unwrap().approved_by, Some(owner));
        assert_eq!(bindings::find(&world.store, &elsewhere, &binding.id).await.unwrap(), None);
        let seen = bindings::list_by_pipeline(&world.store, &elsewhere, &pipeline.id).await;
        assert!(seen.unwrap().is_empty());
        let seen = bindings::list_by_connection(&world.store, &elsewhere, &connection.id, 9).await;
        assert!(seen.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_deleted_connection_breaks_its_bindings_once() {
    each(async |world| {
        let (organization, elsewhere) = (world.organization().await, world.organization().await);
        let owner = world.member(&organization).await;
        let credential = world.credential(&organization, &owner).await;
        let doomed = world.connection(&credential, "doomed").await;
        let kept = world.connection(&credential, "kept").await;
        let pipeline = world.pipeline(&organization, &owner, "Build").await;
        for connection in [&doomed, &kept] {
            let binding = world.binding_record(&pipeline, &connection.id, "source app");
            bindings::create(&world.store, &binding).await.unwrap();
        }
        let (id, now) = (&doomed.id, world.now());
        let none = bindings::break_by_connection(&world.store, &elsewhere, id, "gone", now).await;
        assert!(none.unwrap().is_empty());
        let broken =
            bindings::break_by_connection(&world.store, &organization, id, "gone", now).await;
        let broken = broken.unwrap();
        assert_eq!((broken.len(), broken[0].version), (1, 2));
        assert_eq!(broken[0].reason.as_deref(), Some("gone"));
        let again =
            bindings::break_by_connection(&world.store, &organization, id, "gone", now).await;
        assert!(again.unwrap().is_empty());
        let left = bindings::list_by_pipeline(&world.store, &organization, &pipeline.id).await;
        let states: Vec<_> = left.unwrap().iter().map(|b| b.state).collect();
        assert_eq!(states, [BindingState::Broken, BindingState::NeedsApproval]);
    })
    .await;
}

#[tokio::test]
async fn places_that_a_revision_no_longer_has_lose_their_binding() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let credential = world.credential(&organization, &owner).await;
        let connection = world.connection(&credential, "staging").await;
        let pipeline = world.pipeline(&organization, &owner, "Build").await;
        let old = world.binding_record(&pipeline, &connection.id, "job old");
        let mut kept = world.binding_record(&pipeline, &connection.id, "job kept");
        kept.revision = 2;
        for binding in [&old, &kept] {
            bindings::create(&world.store, binding).await.unwrap();
        }
        let id = &pipeline.id;
        let gone = bindings::delete_before_revision(&world.store, &organization, id, 2).await;
        assert_eq!(gone.unwrap(), 1);
        let left = bindings::list_by_pipeline(&world.store, &organization, id).await.unwrap();
        assert_eq!(left, [kept]);
    })
    .await;
}
