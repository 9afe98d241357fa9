//! Idempotency keys.

use keyferry_store::idempotency_keys::{self, IdempotencyKeyRecord};

use crate::world::{World, each};

fn record(world: &World) -> IdempotencyKeyRecord {
    IdempotencyKeyRecord {
        actor_id: "user_a".to_owned(),
        key: "k-1".to_owned(),
        request_id: world.request_id(),
        request_mark: "mark".to_owned(),
        made: None,
        response: None,
        created_at: world.now(),
        done_at: None,
        expires_at: world.after(60),
    }
}

#[tokio::test]
async fn of_requests_that_race_with_one_key_exactly_one_has_it() {
    each(async |world| {
        let records: Vec<IdempotencyKeyRecord> = (0..8).map(|_| record(world)).collect();
        let mut tries = tokio::task::JoinSet::new();
        for record in records {
            let store = world.store.clone();
            tries.spawn(async move {
                let earlier = idempotency_keys::reserve(&store, &record).await.unwrap();
                (record, earlier)
            });
        }
        let tries = tries.join_all().await;
        let firsts: Vec<_> = tries.iter().filter(|(_, earlier)| earlier.is_none()).collect();
        assert_eq!(firsts.len(), 1);
        for (_, earlier) in &tries {
            assert!(earlier.as_ref().is_none_or(|earlier| *earlier == firsts[0].0));
        }
    })
    .await;
}

#[tokio::test]
async fn the_answer_is_kept_once_and_only_for_the_request_that_has_the_key() {
    each(async |world| {
        let first = record(world);
        let store = &world.store;
        assert_eq!(idempotency_keys::reserve(store, &first).await.unwrap(), None);
        let second = IdempotencyKeyRecord { request_id: world.request_id(), ..first.clone() };
        let done = |record: &IdempotencyKeyRecord, response: &str| IdempotencyKeyRecord {
            response: Some(response.to_owned()),
            done_at: Some(world.after(1)),
            ..record.clone()
        };
        idempotency_keys::complete(store, &done(&second, "other")).await.unwrap();
        idempotency_keys::release(store, &second).await.unwrap();
        let earlier = idempotency_keys::reserve(store, &second).await.unwrap();
        assert_eq!(earlier, Some(first.clone()), "a request that has not the key changes nothing");

        let kept = done(&first, "{}");
        idempotency_keys::complete(store, &kept).await.unwrap();
        idempotency_keys::complete(store, &done(&first, "other")).await.unwrap();
        idempotency_keys::release(store, &first).await.unwrap();
        assert_eq!(idempotency_keys::reserve(store, &second).await.unwrap(), Some(kept));
    })
    .await;
}

#[tokio::test]
async fn the_keys_of_two_callers_are_not_each_others() {
    each(async |world| {
        let first = record(world);
        idempotency_keys::reserve(&world.store, &first).await.unwrap();
        for (actor, key) in [("user_b", "k-1"), ("user_a", "k-2"), ("user_a", "K-1")] {
            let other = IdempotencyKeyRecord {
                actor_id: actor.to_owned(),
                key: key.to_owned(),
                ..record(world)
            };
            let earlier = idempotency_keys::reserve(&world.store, &other).await.unwrap();
            assert_eq!(earlier, None, "{actor} {key}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_released_or_expired_key_can_be_used_again() {
    each(async |world| {
        let record = record(world);
        idempotency_keys::reserve(&world.store, &record).await.unwrap();
        idempotency_keys::release(&world.store, &record).await.unwrap();
        assert_eq!(idempotency_keys::reserve(&world.store, &record).await.unwrap(), None);
        let later = IdempotencyKeyRecord {
            created_at: world.after(60),
            expires_at: world.after(120),
            ..record.clone()
        };
        assert_eq!(idempotency_keys::reserve(&world.store, &later).await.unwrap(), None);
        let gone = idempotency_keys::delete_expired(&world.store, world.after(119)).await;
        assert_eq!(gone.unwrap(), 0);
        let gone = idempotency_keys::delete_expired(&world.store, world.after(120)).await;
        assert_eq!(gone.unwrap(), 1);
    })
    .await;
}
