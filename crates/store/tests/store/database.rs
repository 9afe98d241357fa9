//! Opening, transactions, and that the two engines behave alike in them.

use keyferry_store::organizations::{self, OrganizationRecord};
use keyferry_store::{Store, StoreError, StoreOptions, users};

use crate::world::{World, each};

fn record(world: &World) -> OrganizationRecord {
    OrganizationRecord {
        id: world.organization_id(),
        name: "Acme".to_owned(),
        created_at: world.now(),
        version: 1,
    }
}

#[tokio::test]
async fn other_addresses_are_refused_without_repeating_them() {
    for url in ["", "mysql://root:hunter2@h/d", "sqlite::memory:", "postgres://u:hunter2@h:port/d"]
    {
        let error = Store::open(url, StoreOptions::default()).await.unwrap_err();
        assert!(matches!(error, StoreError::InvalidUrl), "{error:?}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    each(async |world| {
        let organization = world.organization().await;
        world.store.migrate().await.unwrap();
        world.store.ping().await.unwrap();
        let again = Store::open(&world.url, StoreOptions::default()).await.unwrap();
        again.migrate().await.unwrap();
        assert!(organizations::find(&again, &organization).await.unwrap().is_some());
        again.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing() {
    each(async |world| {
        let record = record(world);
        let mut change = world.store.begin().await.unwrap();
        organizations::create(&mut change, &record).await.unwrap();
        assert!(organizations::find(&mut change, &record.id).await.unwrap().is_some());
        drop(change);
        assert_eq!(organizations::find(&world.store, &record.id).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_is_seen_by_others_only_when_committed() {
    each(async |world| {
        let record = record(world);
        let mut change = world.store.begin().await.unwrap();
        organizations::create(&mut change, &record).await.unwrap();
        assert_eq!(organizations::find(&world.store, &record.id).await.unwrap(), None);
        change.commit().await.unwrap();
        assert_eq!(organizations::find(&world.store, &record.id).await.unwrap(), Some(record));
    })
    .await;
}

#[tokio::test]
async fn a_transaction_goes_on_after_a_taken_key() {
    each(async |world| {
        let first = world.user_record("a@example.com");
        let same = world.user_record("A@example.com");
        let other = world.user_record("b@example.com");
        let mut change = world.store.begin().await.unwrap();
        users::create(&mut change, &first).await.unwrap();
        let error = users::create(&mut change, &same).await.unwrap_err();
        assert!(matches!(error, StoreError::AlreadyExists { what: "user" }), "{error:?}");
        users::create(&mut change, &other).await.unwrap();
        change.commit().await.unwrap();
        assert_eq!(users::count(&world.store).await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_named_by_table_column_and_row() {
    each(async |world| {
        let organization = world.organization().await;
        let user = world.member(&organization).await;
        let credential = world.credential(&organization, &user).await;
        world.connection(&credential, "staging").await;
        world.raw("UPDATE connections SET scope = 'everyone'").await;
        let id = "staging".parse().unwrap();
        let error =
            keyferry_store::connections::find(&world.store, &organization, &id).await.unwrap_err();
        let StoreError::Corrupt { table, column, id } = error else { panic!("{error:?}") };
        assert_eq!((table, column, id.as_str()), ("connections", "scope", "staging"));
    })
    .await;
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    each(async |world| {
        let store = Store::open(&world.url, StoreOptions::default()).await.unwrap();
        store.close().await;
        let error = store.ping().await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    })
    .await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_and_its_log_are_for_this_user_only() {
    use std::os::unix::fs::PermissionsExt as _;
    each(async |world| {
        world.organization().await;
        let Some(path) = world.url.strip_prefix("sqlite://") else { return };
        for file in [path.to_owned(), format!("{path}-wal"), format!("{path}-shm")] {
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{file}");
        }
    })
    .await;
}
