//! Organizations.

use keyferry_store::{StoreError, organizations};

use crate::world::{each, page_after, page_of};

#[tokio::test]
async fn the_second_of_two_changes_to_one_version_is_stale() {
    each(async |world| {
        let id = world.organization().await;
        let mut record = organizations::find(&world.store, &id).await.unwrap().unwrap();
        record.name = "One".to_owned();
        assert_eq!(organizations::update(&world.store, &record).await.unwrap(), 2);
        record.name = "Two".to_owned();
        let error = organizations::update(&world.store, &record).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Stale { what: "organization", current_version: Some(2) }),
            "{error:?}"
        );
        assert_eq!(organizations::find(&world.store, &id).await.unwrap().unwrap().name, "One");
    })
    .await;
}

#[tokio::test]
async fn changing_what_is_not_there_is_stale_without_a_version() {
    each(async |world| {
        let id = world.organization().await;
        let mut record = organizations::find(&world.store, &id).await.unwrap().unwrap();
        record.id = world.organization_id();
        let error = organizations::update(&world.store, &record).await.unwrap_err();
        assert!(matches!(error, StoreError::Stale { current_version: None, .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn an_id_cannot_be_added_twice() {
    each(async |world| {
        let id = world.organization().await;
        let record = organizations::find(&world.store, &id).await.unwrap().unwrap();
        let error = organizations::create(&world.store, &record).await.unwrap_err();
        assert!(matches!(error, StoreError::AlreadyExists { what: "organization" }));
    })
    .await;
}

#[tokio::test]
async fn pages_cover_everything_once() {
    each(async |world| {
        let mut expected = Vec::new();
        for _ in 0..5 {
            expected.push(world.organization().await);
        }
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = organizations::list_all(&world.store, &page_after(2, cursor)).await.unwrap();
            seen.extend(page.items.into_iter().map(|record| record.id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected);
        let exact = organizations::list_all(&world.store, &page_of(5)).await.unwrap();
        assert_eq!(exact.next_cursor, None);
    })
    .await;
}

/// A rule over several rows is only kept when whoever checks it waits for whoever checks it now.
#[tokio::test]
async fn a_locked_organization_makes_the_next_change_wait() {
    each(async |world| {
        let id = world.organization().await;
        let mut record = organizations::find(&world.store, &id).await.unwrap().unwrap();
        let mut first = world.store.begin().await.unwrap();
        assert!(organizations::lock(&mut first, &id).await.unwrap());
        let (about_to, waits) = tokio::sync::oneshot::channel();
        let second = async {
            about_to.send(()).unwrap();
            let mut second = world.store.begin().await.unwrap();
            organizations::lock(&mut second, &id).await.unwrap();
            organizations::find(&mut second, &id).await.unwrap().unwrap().name
        };
        let first = async {
            waits.await.unwrap();
            for _ in 0..5 {
                organizations::find(&mut first, &id).await.unwrap();
            }
            record.name = "Changed".to_owned();
            organizations::update(&mut first, &record).await.unwrap();
            first.commit().await.unwrap();
        };
        let (seen, ()) = tokio::join!(second, first);
        assert_eq!(seen, "Changed");
    })
    .await;
}

#[tokio::test]
async fn an_organization_that_is_not_there_cannot_be_locked() {
    each(async |world| {
        let mut change = world.store.begin().await.unwrap();
        assert!(!organizations::lock(&mut change, &world.organization_id()).await.unwrap());
    })
    .await;
}
