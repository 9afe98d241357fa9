//! Reading the audit record.

use keyferry_domain::audit::{Outcome, Target};
use keyferry_store::audit::{self, AuditFilter};
use keyferry_store::{Journal, StoreError};

use crate::journal::link;
use crate::world::{each, page_after, page_of};

#[tokio::test]
async fn events_are_listed_newest_first_filtered_and_of_one_organization() {
    each(async |world| {
        let (one, two) = (world.organization_id(), world.organization_id());
        let journal = Journal::start(world.store.clone(), "main", link);
        let first = world.event(Some(&one), "lease.issue");
        let mut second = world.event(Some(&one), "lease.refuse");
        second.outcome = Outcome::Refused;
        second.target = Some(Target::new("connection", "other"));
        second.at = world.after(60);
        let server = world.event(None, "server.start");
        let elsewhere = world.event(Some(&two), "lease.issue");
        for event in [&first, &second, &server, &elsewhere] {
            journal.record(event.clone()).await.unwrap();
        }
        let found = async |wanted: AuditFilter| {
            let page = audit::list(&world.store, Some(&one), &wanted, &page_of(9)).await.unwrap();
            page.items.into_iter().map(|record| record.event).collect::<Vec<_>>()
        };
        let all = AuditFilter::default();
        assert_eq!(found(all.clone()).await, [second.clone(), first.clone()]);
        for wanted in [
            AuditFilter { action: Some("lease.refuse".to_owned()), ..all.clone() },
            AuditFilter { actor_id: second.actor.id.clone(), ..all.clone() },
            AuditFilter { target_id: Some("other".to_owned()), ..all.clone() },
            AuditFilter { outcome: Some(Outcome::Refused), ..all.clone() },
            AuditFilter { request: Some(second.request.clone()), ..all.clone() },
            AuditFilter { since: Some(second.at), ..all.clone() },
        ] {
            assert_eq!(found(wanted).await, [second.clone()]);
        }
        let before = AuditFilter { until: Some(second.at), ..all.clone() };
        assert_eq!(found(before).await, [first.clone()]);
        assert!(
            found(AuditFilter { action: Some("lease".to_owned()), ..all.clone() }).await.is_empty()
        );
        let page = audit::list(&world.store, Some(&one), &all, &page_of(1)).await.unwrap();
        let rest = page_after(1, page.next_cursor);
        let rest = audit::list(&world.store, Some(&one), &all, &rest).await.unwrap();
        assert_eq!(rest.items[0].event, first);
        let whole = audit::list(&world.store, None, &all, &page_of(9)).await.unwrap();
        assert_eq!(whole.items.into_iter().map(|r| r.event).collect::<Vec<_>>(), [server]);
        journal.close().await;
    })
    .await;
}

#[tokio::test]
async fn events_of_one_millisecond_are_listed_in_the_order_of_their_chain() {
    each(async |world| {
        let organization = world.organization_id();
        let one = Journal::start(world.store.clone(), "server-a", link);
        let two = Journal::start(world.store.clone(), "server-b", link);
        let mut events: Vec<_> =
            (0..24).map(|_| world.event(Some(&organization), "lease.issue")).collect();
        let at = world.now();
        for event in &mut events {
            event.at = at;
        }
        // Ids are in another order than what is written first.
        events.reverse();
        for (number, event) in events.iter().enumerate() {
            let journal = if number % 3 == 0 { &two } else { &one };
            journal.record(event.clone()).await.unwrap();
        }
        let all = AuditFilter::default();
        let mut listed = Vec::new();
        let mut request = page_of(5);
        loop {
            let page =
                audit::list(&world.store, Some(&organization), &all, &request).await.unwrap();
            listed.extend(page.items.into_iter().map(|found| (found.chain, found.sequence)));
            let Some(cursor) = page.next_cursor else { break };
            request = page_after(5, Some(cursor));
        }
        let chain = |name: &str, count: i64| {
            (1..=count).rev().map(|sequence| (name.to_owned(), sequence)).collect::<Vec<_>>()
        };
        assert_eq!(listed, [chain("server-b", 8), chain("server-a", 16)].concat());
        for cursor in ["", "x", "1.2", "1.x.main"] {
            let request = page_after(5, Some(cursor.to_owned()));
            let strange = audit::list(&world.store, None, &all, &request).await;
            assert!(matches!(strange, Err(StoreError::InvalidCursor)), "{cursor}");
        }
        one.close().await;
        two.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_empty_chain_starts_from_the_first_hash() {
    each(async |world| {
        let head = audit::head(&world.store, "main").await.unwrap();
        assert_eq!(head, (0, audit::FIRST_HASH.to_owned()));
        assert!(audit::chains(&world.store).await.unwrap().is_empty());
        assert!(audit::read_chain(&world.store, "main", 0, 9).await.unwrap().is_empty());
    })
    .await;
}
