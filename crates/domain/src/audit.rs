//! Audit events: one line each of the tamper-evident record.
//!
//! The chain itself (hash of the previous event plus this one) is made by `vault` and written by
//! `store`; this file says what is in a line and how it is spelt for hashing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::actor::ActorRef;
use crate::clock::Timestamp;
use crate::id::{EventId, OrganizationId, RequestId};
use crate::named::named;

named! {
    /// How it ended.
    Outcome {
        /// Done.
        Allowed = "allowed",
        /// Refused by policy, a binding or a check.
        Refused = "refused",
        /// Allowed, and then it failed.
        Failed = "failed",
    }
}

/// What was acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// `connection`, `credential`, `lease`, `pipeline`, … as in the glossary.
    pub kind: String,
    /// Its id.
    pub id: String,
}

impl Target {
    /// Makes a target.
    pub fn new(kind: &str, id: impl std::fmt::Display) -> Self {
        Self { kind: kind.to_owned(), id: id.to_string() }
    }
}

/// One event, before it has its place in the chain.
///
/// `data` holds what else is worth knowing (`isolation`, `narrowing`, the credential's version);
/// never a secret. `action` is `<noun>.<verb>`, `lease.issue` for instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the glossary names each; the type's text says the rest")]
pub struct AuditEvent {
    pub id: EventId,
    /// Absent for what happens to the whole server.
    pub organization: Option<OrganizationId>,
    pub at: Timestamp,
    pub actor: ActorRef,
    pub address: Option<String>,
    pub request: RequestId,
    pub action: String,
    pub target: Option<Target>,
    pub outcome: Outcome,
    pub reason: Option<String>,
    pub data: BTreeMap<String, String>,
}

/// One event in its place in the chain. Hashes are lower-case hex of SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the type's text says it")]
pub struct ChainedEvent {
    pub sequence: i64,
    pub event: AuditEvent,
    pub previous_hash: String,
    pub hash: String,
}
