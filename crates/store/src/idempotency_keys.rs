//! Idempotency keys: the answer to a create that a client may send twice.
//!
//! An answer with a secret in it must not be stored here; the caller leaves `complete` out then,
//! and a second try is told that the first one is under way or done.

use keyferry_domain::Timestamp;
use keyferry_domain::id::OrganizationId;

use crate::database::On;
use crate::error::{Result, StoreError};
use crate::record::record;
use crate::row::params;

record! {
    /// What is known of one key.
    pub struct IdempotencyKeyRecord in "idempotency_keys" as "idempotency key" {
        /// The organization.
        key organization_id: OrganizationId,
        /// Who sent it: an actor's id.
        key actor_id: String,
        /// The key that the client chose.
        key key: String,
        /// The hash of the request that came with it.
        fix request_hash: String,
        /// The status of the answer; absent until there is one.
        fix status: Option<i64>,
        /// The answer.
        fix response: Option<String>,
        /// When the request came.
        fix created_at: Timestamp,
        /// When the key is forgotten.
        fix expires_at: Timestamp,
    }
}

/// What becomes of a request with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reservation {
    /// It is the first one: do it, then [`complete`] or [`release`].
    New,
    /// The first one is not done yet.
    InProgress,
    /// It was done; this is the answer.
    Done {
        /// The answer's status.
        status: i64,
        /// The answer.
        response: String,
    },
    /// The key came with another request before.
    Mismatch,
}

/// Reserves a key for a request. A key whose time is up counts as new.
pub async fn reserve(on: impl Into<On<'_>>, record: &IdempotencyKeyRecord) -> Result<Reservation> {
    let mut on = on.into().together().await?;
    let sql = "DELETE FROM idempotency_keys WHERE organization_id = $1 AND actor_id = $2 \
               AND key = $3 AND expires_at <= $4";
    let params = params![record.organization_id, record.actor_id, record.key, record.created_at];
    on.execute(sql.to_owned(), params).await?;
    let reservation = match on.insert(record).await {
        Ok(()) => Reservation::New,
        Err(StoreError::AlreadyExists { .. }) => {
            let before: Option<IdempotencyKeyRecord> = on
                .select_one(
                    "WHERE organization_id = $1 AND actor_id = $2 AND key = $3",
                    params![record.organization_id, record.actor_id, record.key],
                )
                .await?;
            match before {
                Some(before) if before.request_hash != record.request_hash => Reservation::Mismatch,
                Some(IdempotencyKeyRecord {
                    status: Some(status),
                    response: Some(response),
                    ..
                }) => Reservation::Done { status, response },
                _ => Reservation::InProgress,
            }
        }
        Err(error) => return Err(error),
    };
    on.finish().await?;
    Ok(reservation)
}

/// Keeps the answer to the request that reserved the key.
pub async fn complete(
    on: impl Into<On<'_>>,
    record: &IdempotencyKeyRecord,
    status: i64,
    response: &str,
) -> Result<()> {
    let sql = "UPDATE idempotency_keys SET status = $5, response = $6 WHERE organization_id = $1 \
               AND actor_id = $2 AND key = $3 AND request_hash = $4 AND status IS NULL";
    let params = params![
        record.organization_id,
        record.actor_id,
        record.key,
        record.request_hash,
        status,
        response
    ];
    on.into().execute(sql.to_owned(), params).await.map(drop)
}

/// Gives the key back after a failure, so that the client can try again with it.
pub async fn release(on: impl Into<On<'_>>, record: &IdempotencyKeyRecord) -> Result<()> {
    let sql = "DELETE FROM idempotency_keys WHERE organization_id = $1 AND actor_id = $2 \
               AND key = $3 AND request_hash = $4 AND status IS NULL";
    let params = params![record.organization_id, record.actor_id, record.key, record.request_hash];
    on.into().execute(sql.to_owned(), params).await.map(drop)
}

/// Forgets keys whose time is up; returns how many.
pub async fn delete_expired(on: impl Into<On<'_>>, now: Timestamp) -> Result<u64> {
    let sql = "DELETE FROM idempotency_keys WHERE expires_at <= $1";
    on.into().execute(sql.to_owned(), params![now]).await
}
