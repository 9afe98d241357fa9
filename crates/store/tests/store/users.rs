//! Users.

use keyferry_domain::id::OrganizationId;
use keyferry_store::users::UserRecord;
use keyferry_store::{StoreError, members, users};

use crate::world::each;

#[tokio::test]
async fn an_address_belongs_to_one_person_whatever_its_case() {
    each(async |world| {
        let user = world.user_record("Ann@Example.com");
        users::create(&world.store, &user).await.unwrap();
        let error =
            users::create(&world.store, &world.user_record(" ann@EXAMPLE.com")).await.unwrap_err();
        assert!(matches!(error, StoreError::AlreadyExists { what: "user" }));
        let found = users::find_by_email(&world.store, "ANN@example.com ").await.unwrap();
        assert_eq!(found, Some(user));
        assert_eq!(users::find_by_email(&world.store, "bob@example.com").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn changes_keep_when_a_user_was_added() {
    each(async |world| {
        let mut user = world.user_record("ann@example.com");
        users::create(&world.store, &user).await.unwrap();
        user.password_hash = Some("$argon2id$…".to_owned());
        user.disabled_at = Some(world.after(9));
        let added = user.created_at;
        user.created_at = world.after(99);
        assert_eq!(users::update(&world.store, &user).await.unwrap(), 2);
        let found = users::find(&world.store, &user.id).await.unwrap().unwrap();
        assert_eq!(found.created_at, added);
        assert_eq!(found.password_hash, user.password_hash);
        assert_eq!(found.disabled_at, user.disabled_at);
        assert_eq!(users::count(&world.store).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_address_of_someone_else_cannot_be_taken_over() {
    each(async |world| {
        let first = world.user_record("a@example.com");
        let mut second = world.user_record("b@example.com");
        users::create(&world.store, &first).await.unwrap();
        users::create(&world.store, &second).await.unwrap();
        second.email_folded = "a@example.com".to_owned();
        let error = users::update(&world.store, &second).await.unwrap_err();
        assert!(matches!(error, StoreError::AlreadyExists { what: "user" }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn each_organization_has_one_placeholder_of_an_address_beside_its_account() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let placeholder = |organization: &OrganizationId| UserRecord {
            invited_to: Some(organization.clone()),
            ..world.user_record("Ann@example.com")
        };
        let (mut first, second) = (placeholder(&one), placeholder(&two));
        users::create(&world.store, &first).await.unwrap();
        users::create(&world.store, &second).await.unwrap();
        let error = users::create(&world.store, &placeholder(&one)).await.unwrap_err();
        assert!(matches!(error, StoreError::AlreadyExists { what: "user" }), "{error:?}");
        assert_eq!(users::find_by_email(&world.store, "ann@example.com").await.unwrap(), None);

        let account = world.user_record("ann@example.com");
        users::create(&world.store, &account).await.unwrap();
        let found = users::find_by_email(&world.store, "ann@example.com").await.unwrap();
        assert_eq!(found, Some(account));
        // Nor does a placeholder become a second account.
        let promoted = UserRecord { invited_to: None, ..second };
        let error = users::update(&world.store, &promoted).await.unwrap_err();
        assert!(matches!(error, StoreError::AlreadyExists { what: "user" }), "{error:?}");

        first.disabled_at = Some(world.now());
        users::update(&world.store, &first).await.unwrap();
        users::create(&world.store, &placeholder(&one)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_member_is_found_by_address_in_their_organization_only() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let id = world.member(&one).await;
        let email = users::find(&world.store, &id).await.unwrap().unwrap().email.to_uppercase();
        let found = users::find_member_by_email(&world.store, &one, &email).await.unwrap();
        assert_eq!(found.unwrap().id, id);
        assert_eq!(users::find_member_by_email(&world.store, &two, &email).await.unwrap(), None);
        members::delete(&world.store, &one, &id).await.unwrap();
        assert_eq!(users::find_member_by_email(&world.store, &one, &email).await.unwrap(), None);
    })
    .await;
}
