//! Idempotency keys: a request that creates something can be sent twice and is done once.
//!
//! Knows nothing of what is created: `server` puts this around the operations that create. A key is
//! reserved before the policy is asked, since only the use case inside asks it; the reservation is
//! visible to nobody but its caller, and is given back when the use case refuses.
//!
//! Secrets stay out of the table. Of a request there is a mark that only the root keys can compare,
//! and an answer that shows a secret is not kept, so it is never given a second time.

use std::time::Duration;

use keyferry_domain::actor::{Identity, Via};
use keyferry_domain::{Actor, Error, ErrorKind, Result};
use keyferry_store::idempotency_keys::{self, IdempotencyKeyRecord};

use crate::Broker;
use crate::failure::store_failed;

/// How long a key is remembered.
const REMEMBERED_FOR: Duration = Duration::from_hours(24);

/// The longest key, in characters.
const MAX_KEY_LENGTH: usize = 255;

/// A key that stands for the request under way. Ends with [`Broker::keep_answer`] or
/// [`Broker::release_key`]; one that ends with neither stays taken, since nobody knows then whether
/// its request has changed anything.
#[derive(Debug)]
pub struct Reservation(IdempotencyKeyRecord);

/// What a key means for the request that it came with.
#[derive(Debug)]
pub enum Claim {
    /// The request is the first one: do it.
    First(Reservation),
    /// It was done before, and this was the answer.
    Answered(String),
    /// The key came with another request before.
    OtherRequest,
}

/// What is kept of a request that was done.
#[derive(Debug)]
pub enum Kept {
    /// The answer, which a second try gets too.
    Answer(String),
    /// The id of what was made; the answer holds a secret.
    NameOnly(String),
}

impl Broker {
    /// Looks a caller's key up and reserves it for this request, which is given in parts: address
    /// and body.
    pub async fn claim_key(&self, actor: &Actor, key: &str, parts: &[&[u8]]) -> Result<Claim> {
        let is_key = (1..=MAX_KEY_LENGTH).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_key {
            let message = format!(
                "the idempotency key is not 1 to {MAX_KEY_LENGTH} visible ASCII characters"
            );
            return Err(Error::invalid("invalid_idempotency_key", message)
                .hint("send a new random one with each request, a UUID for instance"));
        }
        let actor_id = sender(actor)?;
        // The caller and the key are part of what is marked: a mark moved to another row fits
        // nothing there.
        let marked: Vec<&[u8]> = [actor_id.as_bytes(), key.as_bytes()]
            .into_iter()
            .chain(parts.iter().copied())
            .collect();
        let request_mark = self.vault.mark_request(&marked).map_err(unreadable)?;
        let now = self.clock.now();
        let record = IdempotencyKeyRecord {
            actor_id: actor_id.clone(),
            key: key.to_owned(),
            request_id: actor.request.clone(),
            request_mark,
            made: None,
            response: None,
            created_at: now,
            done_at: None,
            expires_at: now.plus(REMEMBERED_FOR),
        };
        let earlier =
            idempotency_keys::reserve(&self.store, &record).await.map_err(store_failed)?;
        let Some(earlier) = earlier else { return Ok(Claim::First(Reservation(record))) };
        if !self.vault.is_marked_request(&earlier.request_mark, &marked).map_err(unreadable)? {
            return Ok(Claim::OtherRequest);
        }
        match (earlier.response, earlier.made) {
            (Some(response), _) => Ok(Claim::Answered(response)),
            (None, Some(made)) => Err(Error::conflict(
                "already_done",
                format!(
                    "this request was done before and made `{made}`; the answer held a secret, \
                     which is shown once"
                ),
            )
            .hint("if the secret is lost, take back what was made, and ask again with a new key")),
            (None, None) => Err(Error::conflict(
                "request_unfinished",
                "a request with this idempotency key has come before, and was not answered yet",
            )
            .hint(
                "send it again in a moment; if this stays, the first one broke off: look whether \
                 it has made something before you use a new key",
            )),
        }
    }

    /// Ends a reservation: the request has made something.
    pub async fn keep_answer(&self, reservation: Reservation, kept: Kept) -> Result<()> {
        let (made, response) = match kept {
            Kept::Answer(response) => (None, Some(response)),
            Kept::NameOnly(made) => (Some(made), None),
        };
        let record = IdempotencyKeyRecord {
            made,
            response,
            done_at: Some(self.clock.now()),
            ..reservation.0
        };
        idempotency_keys::complete(&self.store, &record).await.map_err(store_failed)
    }

    /// Ends a reservation: the request has changed nothing and may be tried again.
    pub async fn release_key(&self, reservation: Reservation) -> Result<()> {
        idempotency_keys::release(&self.store, &reservation.0).await.map_err(store_failed)
    }
}

/// Returns whose key it is. A person's API token has keys of its own: it reaches one organization
/// only, and must not be answered what a session has done in another.
fn sender(actor: &Actor) -> Result<String> {
    match &actor.identity {
        Identity::User { user, via: Via::Session(_) } => Ok(user.to_string()),
        Identity::User { via: Via::Token { token, .. }, .. } => Ok(token.to_string()),
        Identity::Job { job, .. } => Ok(job.to_string()),
        Identity::Workload { workload, .. } => Ok(workload.to_string()),
        Identity::Runner { runner, .. } => Ok(runner.to_string()),
        Identity::Anonymous | Identity::System => {
            Err(Error::internal("an idempotency key of nobody"))
        }
    }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "idempotency_key_unreadable",
        "the idempotency key cannot be compared with the root keys of this server",
    )
    .hint("use a new key once you know that the first request has made nothing")
    .caused_by(error)
}
