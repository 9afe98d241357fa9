//! Members.

use keyferry_domain::Role;
use keyferry_store::members::MemberRecord;
use keyferry_store::{StoreError, connections, credentials, members, pipelines};

use crate::world::{each, page_of};

#[tokio::test]
async fn members_of_another_organization_are_not_seen() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let user = world.member(&one).await;
        assert!(members::find(&world.store, &one, &user).await.unwrap().is_some());
        assert_eq!(members::find(&world.store, &two, &user).await.unwrap(), None);
        assert!(members::list(&world.store, &two, &page_of(9)).await.unwrap().items.is_empty());
        assert!(!members::delete(&world.store, &two, &user).await.unwrap());
        assert!(members::find(&world.store, &one, &user).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_role_is_changed_by_one_of_two_at_once() {
    each(async |world| {
        let organization = world.organization().await;
        let user = world.member(&organization).await;
        let mut member = members::find(&world.store, &organization, &user).await.unwrap().unwrap();
        member.role = Role::Owner;
        let (a, b) = tokio::join!(
            members::update(&world.store, &member),
            members::update(&world.store, &member)
        );
        let lost = [a, b].into_iter().filter_map(Result::err).collect::<Vec<_>>();
        assert!(
            matches!(lost[..], [StoreError::Stale { current_version: Some(2), .. }]),
            "{lost:?}"
        );
        let owners = members::list_by_role(&world.store, &organization, Role::Owner, 10);
        assert_eq!(owners.await.unwrap().len(), 1);
        let plain = members::list_by_role(&world.store, &organization, Role::Member, 10);
        assert!(plain.await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn nobody_is_a_member_twice_and_memberships_are_listed_by_person() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let user = world.member(&one).await;
        let mut member = members::find(&world.store, &one, &user).await.unwrap().unwrap();
        let error = members::create(&world.store, &member).await.unwrap_err();
        assert!(matches!(error, StoreError::AlreadyExists { what: "member" }));
        member.organization_id = two.clone();
        members::create(&world.store, &member).await.unwrap();
        let all = members::list_by_user(&world.store, &user).await.unwrap();
        assert_eq!(all.iter().map(|m| &m.organization_id).collect::<Vec<_>>(), [&one, &two]);
        assert!(members::delete(&world.store, &one, &user).await.unwrap());
        assert_eq!(members::list_by_user(&world.store, &user).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_place_moves_within_its_organization_and_to_nobody_who_has_one() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let (from, to) = (world.member(&one).await, world.member(&two).await);
        let record = members::find(&world.store, &one, &from).await.unwrap().unwrap();
        let elsewhere = members::find(&world.store, &two, &to).await.unwrap();
        let taken = MemberRecord { organization_id: two.clone(), ..record.clone() };
        members::create(&world.store, &taken).await.unwrap();
        let error = members::move_to(&world.store, &taken, &to).await.unwrap_err();
        assert!(matches!(error, StoreError::AlreadyExists { what: "member" }), "{error:?}");
        assert!(members::find(&world.store, &two, &from).await.unwrap().is_some());

        members::move_to(&world.store, &record, &to).await.unwrap();
        assert_eq!(members::find(&world.store, &one, &from).await.unwrap(), None);
        let moved = members::find(&world.store, &one, &to).await.unwrap();
        assert_eq!(moved, Some(MemberRecord { user_id: to.clone(), ..record }));
        assert_eq!(members::find(&world.store, &two, &to).await.unwrap(), elsewhere);
        assert!(members::find(&world.store, &two, &from).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn what_is_given_to_another_makes_those_stale_who_have_read_the_old_owner() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let (from, to) = (world.member(&one).await, world.member(&one).await);
        let credential = world.credential(&one, &from).await;
        let connection = world.connection(&credential, "given").await;
        let pipeline = world.pipeline(&one, &from, "Build").await;
        let elsewhere = world.credential(&two, &from).await;
        members::give_owned(&world.store, &one, &from, &to).await.unwrap();

        let found = connections::find(&world.store, &one, &connection.id).await.unwrap().unwrap();
        assert_eq!((&found.owner_id, found.version), (&to, 2));
        let stale = connections::update(&world.store, &connection).await.unwrap_err();
        assert!(matches!(stale, StoreError::Stale { current_version: Some(2), .. }), "{stale:?}");
        let found = pipelines::find(&world.store, &one, &pipeline.id).await.unwrap().unwrap();
        assert_eq!((&found.owner_id, found.version), (&to, 2));
        let found = credentials::find(&world.store, &one, &credential.id).await.unwrap().unwrap();
        assert_eq!((&found.owner_id, found.version), (&to, 2));
        let found = credentials::find(&world.store, &two, &elsewhere.id).await.unwrap().unwrap();
        assert_eq!((&found.owner_id, found.version), (&from, 1));
    })
    .await;
}
