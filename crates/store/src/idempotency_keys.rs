//! Idempotency keys: the answer to a create that a client may send twice.
//!
//! An answer with a secret in it must not be stored here; what was made is named instead. Whether
//! two requests are the same is not decided here: of a request there is only a mark, which `vault`
//! makes and compares.

use keyferry_domain::Timestamp;
use keyferry_domain::id::RequestId;

use crate::database::On;
use crate::error::{Result, StoreError};
use crate::record::record;
use crate::row::params;

record! {
    /// What is known of one key.
    pub struct IdempotencyKeyRecord in "idempotency_keys" as "idempotency key" {
        /// Who sent it: the id of a person, or of the API token that one used.
        key actor_id: String,
        /// The key that the client chose.
        key key: String,
        /// The request that came with it first.
        fix request_id: RequestId,
        /// The mark of that request.
        fix request_mark: String,
        /// The id of what was made, when the answer holds a secret.
        fix made: Option<String>,
        /// The answer, when it holds no secret.
        fix response: Option<String>,
        /// When the request came.
        fix created_at: Timestamp,
        /// When it was answered.
        fix done_at: Option<Timestamp>,
        /// When the key is forgotten.
        fix expires_at: Timestamp,
    }
}

/// Reserves a key for a request; returns what is known of the key when an earlier request has it.
/// A key whose time is up counts as new.
pub async fn reserve(
    on: impl Into<On<'_>>,
    record: &IdempotencyKeyRecord,
) -> Result<Option<IdempotencyKeyRecord>> {
    let mut on = on.into().together().await?;
    let sql = "DELETE FROM idempotency_keys WHERE actor_id = $1 AND key = $2 AND expires_at <= $3";
    let params = params![record.actor_id, record.key, record.created_at];
    on.execute(sql.to_owned(), params).await?;
    let earlier = loop {
        match on.insert(record).await {
            Ok(()) => break None,
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error),
        }
        let earlier = on
            .select_one("WHERE actor_id = $1 AND key = $2", params![record.actor_id, record.key])
            .await?;
        // Absent when it was released between the two statements; the key is free then.
        if earlier.is_some() {
            break earlier;
        }
    };
    on.finish().await?;
    Ok(earlier)
}

/// Keeps what became of the request that reserved the key: `made`, `response` and `done_at`.
pub async fn complete(on: impl Into<On<'_>>, record: &IdempotencyKeyRecord) -> Result<()> {
    let sql = "UPDATE idempotency_keys SET made = $4, response = $5, done_at = $6 \
               WHERE actor_id = $1 AND key = $2 AND request_id = $3 AND done_at IS NULL";
    let IdempotencyKeyRecord { actor_id, key, request_id, made, response, done_at, .. } = record;
    let params = params![actor_id, key, request_id, made, response, done_at];
    on.into().execute(sql.to_owned(), params).await.map(drop)
}

/// Gives the key back after a failure, so that the client can try again with it.
pub async fn release(on: impl Into<On<'_>>, record: &IdempotencyKeyRecord) -> Result<()> {
    let sql = "DELETE FROM idempotency_keys WHERE actor_id = $1 AND key = $2 \
               AND request_id = $3 AND done_at IS NULL";
    let params = params![record.actor_id, record.key, record.request_id];
    on.into().execute(sql.to_owned(), params).await.map(drop)
}

/// Forgets keys whose time is up; returns how many.
pub async fn delete_expired(on: impl Into<On<'_>>, now: Timestamp) -> Result<u64> {
    let sql = "DELETE FROM idempotency_keys WHERE expires_at <= $1";
    on.into().execute(sql.to_owned(), params![now]).await
}
