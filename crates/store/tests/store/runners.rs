//! Runners.

use keyferry_domain::run::Isolation;
use keyferry_store::StoreError;
use keyferry_store::runners::{self, RunnerRecord};

use crate::world::{each, page_of};

#[tokio::test]
async fn runners_are_seen_in_their_organization_until_they_are_gone() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let mut record = RunnerRecord {
            id: world.runner_id(),
            organization_id: Some(one.clone()),
            name: "office".to_owned(),
            isolation: None,
            created_at: world.now(),
            last_seen_at: None,
            deleted_at: None,
            version: 1,
        };
        let embedded =
            RunnerRecord { id: world.runner_id(), organization_id: None, ..record.clone() };
        runners::create(&world.store, &record).await.unwrap();
        runners::create(&world.store, &embedded).await.unwrap();
        assert_eq!(runners::find(&world.store, &two, &record.id).await.unwrap(), None);
        assert_eq!(runners::find(&world.store, &one, &embedded.id).await.unwrap(), None);
        assert!(runners::list(&world.store, &two, &page_of(9)).await.unwrap().items.is_empty());
        let page = runners::list(&world.store, &one, &page_of(9)).await.unwrap();
        assert_eq!(page.items, [record.clone()]);
        assert_eq!(runners::list_embedded(&world.store).await.unwrap(), [embedded]);

        let now = world.now();
        runners::touch(&world.store, &record.id, Isolation::Process, now).await.unwrap();
        let seen = runners::find_anywhere(&world.store, &record.id).await.unwrap().unwrap();
        assert_eq!((seen.last_seen_at, seen.isolation), (Some(now), Some(Isolation::Process)));
        record.deleted_at = Some(now);
        assert_eq!(runners::update(&world.store, &record).await.unwrap(), 2);
        let stale = runners::update(&world.store, &record).await;
        assert!(matches!(stale, Err(StoreError::Stale { current_version: Some(2), .. })));
        assert_eq!(runners::find(&world.store, &one, &record.id).await.unwrap(), None);
        assert_eq!(runners::find_anywhere(&world.store, &record.id).await.unwrap(), None);
    })
    .await;
}
