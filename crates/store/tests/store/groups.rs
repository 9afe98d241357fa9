//! Groups.

use keyferry_domain::id::OrganizationId;
use keyferry_store::groups::{self, GroupRecord};
use keyferry_store::{StoreError, fold, members};

use crate::world::{World, each, page_after, page_of};

fn record(world: &World, organization: &OrganizationId, name: &str) -> GroupRecord {
    GroupRecord {
        organization_id: organization.clone(),
        id: world.group_id(),
        name: name.to_owned(),
        name_folded: fold(name),
        created_at: world.now(),
        version: 1,
    }
}

#[tokio::test]
async fn only_members_can_be_in_a_group() {
    each(async |world| {
        let organization = world.organization().await;
        let elsewhere = world.organization().await;
        let stranger = world.member(&elsewhere).await;
        let group = record(world, &organization, "Ops");
        let refused = groups::create(&world.store, &group, &[stranger]).await;
        assert!(refused.is_err());
        let found = groups::find(&world.store, &organization, &group.id).await.unwrap();
        assert_eq!(found, None, "the group was added although its users were refused");
    })
    .await;
}

#[tokio::test]
async fn users_are_replaced_and_leave_with_their_membership() {
    each(async |world| {
        let organization = world.organization().await;
        let (ann, bob) = (world.member(&organization).await, world.member(&organization).await);
        let group = record(world, &organization, "Ops");
        groups::create(&world.store, &group, &[ann.clone(), ann.clone()]).await.unwrap();
        let both = [ann.clone(), bob.clone()];
        assert_eq!(groups::update(&world.store, &group, Some(&both)).await.unwrap(), 2);
        let users = groups::users(&world.store, &organization, &group.id).await.unwrap();
        assert_eq!(users, both);
        members::delete(&world.store, &organization, &ann).await.unwrap();
        let users = groups::users(&world.store, &organization, &group.id).await.unwrap();
        assert_eq!(users, [bob.clone()]);
        let of_bob = groups::list_by_user(&world.store, &organization, &bob).await.unwrap();
        assert_eq!(of_bob, [group.id.clone()]);
        assert!(groups::list_by_user(&world.store, &organization, &ann).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_stale_change_leaves_the_users_alone() {
    each(async |world| {
        let organization = world.organization().await;
        let ann = world.member(&organization).await;
        let mut group = record(world, &organization, "Ops");
        groups::create(&world.store, &group, std::slice::from_ref(&ann)).await.unwrap();
        group.version = 7;
        let error = groups::update(&world.store, &group, Some(&[])).await.unwrap_err();
        assert!(matches!(error, StoreError::Stale { current_version: Some(1), .. }));
        let users = groups::users(&world.store, &organization, &group.id).await.unwrap();
        assert_eq!(users, [ann]);
    })
    .await;
}

#[tokio::test]
async fn names_are_unique_in_their_organization_and_listed_in_order() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        for name in ["ops", "Dev"] {
            groups::create(&world.store, &record(world, &one, name), &[]).await.unwrap();
        }
        let error = groups::create(&world.store, &record(world, &one, "OPS"), &[]).await;
        assert!(matches!(error, Err(StoreError::AlreadyExists { what: "group" })));
        groups::create(&world.store, &record(world, &two, "OPS"), &[]).await.unwrap();

        let first = groups::list(&world.store, &one, &page_of(1)).await.unwrap();
        assert_eq!(first.items[0].name, "Dev");
        let rest = page_after(1, first.next_cursor);
        let second = groups::list(&world.store, &one, &rest).await.unwrap();
        assert_eq!(second.items[0].name, "ops");
        assert_eq!(second.next_cursor, None);

        let id = &second.items[0].id;
        assert!(!groups::delete(&world.store, &two, id).await.unwrap());
        assert!(groups::delete(&world.store, &one, id).await.unwrap());
        assert_eq!(groups::find(&world.store, &one, id).await.unwrap(), None);
    })
    .await;
}
