//! Idempotency keys.

use keyferry_store::idempotency_keys::{self, IdempotencyKeyRecord, Reservation};

use crate::world::{World, each};

fn record(world: &World) -> IdempotencyKeyRecord {
    IdempotencyKeyRecord {
        organization_id: world.organization_id(),
        actor_id: world.user_id().to_string(),
        key: "k-1".to_owned(),
        request_hash: "request".to_owned(),
        status: None,
        response: None,
        created_at: world.now(),
        expires_at: world.after(60),
    }
}

#[tokio::test]
async fn a_request_that_comes_twice_is_done_once_and_answered_alike() {
    each(async |world| {
        let record = record(world);
        let (a, b) = tokio::join!(
            idempotency_keys::reserve(&world.store, &record),
            idempotency_keys::reserve(&world.store, &record)
        );
        let mut both = [a.unwrap(), b.unwrap()];
        both.sort_by_key(|reservation| *reservation != Reservation::New);
        assert_eq!(both, [Reservation::New, Reservation::InProgress]);
        idempotency_keys::complete(&world.store, &record, 201, "{}").await.unwrap();
        idempotency_keys::release(&world.store, &record).await.unwrap();
        let again = idempotency_keys::reserve(&world.store, &record).await.unwrap();
        assert_eq!(again, Reservation::Done { status: 201, response: "{}".to_owned() });
    })
    .await;
}

#[tokio::test]
async fn a_key_with_another_request_is_refused() {
    each(async |world| {
        let record = record(world);
        idempotency_keys::reserve(&world.store, &record).await.unwrap();
        let other = IdempotencyKeyRecord { request_hash: "other".to_owned(), ..record.clone() };
        let refused = idempotency_keys::reserve(&world.store, &other).await.unwrap();
        assert_eq!(refused, Reservation::Mismatch);
        let someone = IdempotencyKeyRecord { actor_id: "user_other".to_owned(), ..other.clone() };
        let new = idempotency_keys::reserve(&world.store, &someone).await.unwrap();
        assert_eq!(new, Reservation::New);
        let elsewhere = IdempotencyKeyRecord { organization_id: world.organization_id(), ..other };
        let new = idempotency_keys::reserve(&world.store, &elsewhere).await.unwrap();
        assert_eq!(new, Reservation::New);
    })
    .await;
}

#[tokio::test]
async fn a_released_or_expired_key_can_be_used_again() {
    each(async |world| {
        let record = record(world);
        idempotency_keys::reserve(&world.store, &record).await.unwrap();
        idempotency_keys::release(&world.store, &record).await.unwrap();
        let new = idempotency_keys::reserve(&world.store, &record).await.unwrap();
        assert_eq!(new, Reservation::New);
        let later = IdempotencyKeyRecord {
            created_at: world.after(60),
            expires_at: world.after(120),
            ..record.clone()
        };
        let new = idempotency_keys::reserve(&world.store, &later).await.unwrap();
        assert_eq!(new, Reservation::New);
        let gone = idempotency_keys::delete_expired(&world.store, world.after(119)).await;
        assert_eq!(gone.unwrap(), 0);
        let gone = idempotency_keys::delete_expired(&world.store, world.after(120)).await;
        assert_eq!(gone.unwrap(), 1);
    })
    .await;
}
