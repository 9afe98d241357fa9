//! Leases: one issue of access, from the row that precedes the outside token to what is left of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::connection::ConnectionId;
use crate::id::{CredentialId, JobId, LeaseId, OrganizationId, RunId, WorkloadId};
use crate::named::named;
use crate::operation::{Access, Operation, RepositoryPath};

/// Who holds a lease; leases end with their holder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Holder {
    /// A job of a run.
    Job {
        /// The run.
        run: RunId,
        /// The job.
        job: JobId,
    },
    /// A command outside pipelines.
    Workload {
        /// The workload.
        workload: WorkloadId,
    },
}

impl Holder {
    /// Returns the job's or the workload's id.
    pub fn id(&self) -> &str {
        match self {
            Self::Job { job, .. } => job.as_str(),
            Self::Workload { workload } => workload.as_str(),
        }
    }
}

/// What a lease was cut down to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Narrowing {
    /// The stored credential itself: nothing narrower was to be had.
    Stored,
    /// A token minted for this lease, with only these scopes of the service.
    ScopedToken {
        /// The service's names of the scopes.
        scopes: Vec<String>,
    },
    /// A key minted for this lease, for one repository.
    DeployKey {
        /// The repository.
        repository: RepositoryPath,
        /// Whether it may push.
        access: Access,
    },
}

impl Narrowing {
    /// Tells whether the provider makes something new for this lease.
    pub const fn is_minted(&self) -> bool {
        !matches!(self, Self::Stored)
    }
}

impl fmt::Display for Narrowing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored => formatter.write_str("the stored credential"),
            Self::ScopedToken { scopes } => write!(formatter, "a token with {}", scopes.join(", ")),
            Self::DeployKey { repository, access } => {
                write!(formatter, "a deploy key to {access} {repository}")
            }
        }
    }
}

named! {
    /// Why a lease ended.
    EndReason {
        /// Its holder ended.
        HolderEnded = "holder_ended",
        /// Its time was up.
        Expired = "expired",
        /// Someone ended it by hand.
        Revoked = "revoked",
        /// Its connection or credential went away.
        ConnectionEnded = "connection_ended",
        /// The service refused what was handed over.
        Rejected = "rejected",
        /// The provider could not mint it.
        MintFailed = "mint_failed",
    }
}

/// Where a lease stands.
///
/// `Pending → Active → Ending → Ended`; a lease that was never minted may go straight to `Ending`.
/// Only leases with something minted wait in `Ending`, until the provider has taken it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LeaseState {
    /// The row exists; the outside token may or may not.
    Pending,
    /// Handed over.
    Active,
    /// To be taken back at the provider.
    Ending {
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: EndReason,
    },
    /// Over. What is left alive is in the lease's residue.
    Ended {
        /// When.
        at: Timestamp,
        /// Why.
        reason: EndReason,
    },
}

impl LeaseState {
    /// Returns the name under which the state is stored and shown.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Ending { .. } => "ending",
            Self::Ended { .. } => "ended",
        }
    }
}

/// The lease is not in a state from which this can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{verb} a lease that is {from}")]
pub struct InvalidTransition {
    verb: &'static str,
    from: &'static str,
}

/// What a lease leaves alive at the provider, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residue {
    /// What is left, for a person: "the stored password was handed over".
    pub what: String,
    /// When it dies by itself; absent when it does not.
    pub until: Option<Timestamp>,
}

/// One issue of access to one holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// The organization.
    pub organization: OrganizationId,
    /// The connection it was issued through.
    pub connection: ConnectionId,
    /// The credential behind the connection at that time.
    pub credential: CredentialId,
    /// The credential's version at that time.
    pub credential_version: i64,
    /// Who holds it.
    pub holder: Holder,
    /// What was asked for.
    pub operation: Operation,
    /// What it was cut down to.
    pub narrowing: Narrowing,
    /// How the provider finds again what it minted: a token's name, a key's title. Fixed before
    /// the mint, so that a crash in between leaves nothing that cannot be found.
    pub handle: Option<String>,
    /// The connection's settings at that time, where something is minted: it is taken back where
    /// it was made, also when the connection leads elsewhere by then.
    pub settings: BTreeMap<String, String>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// When its material was handed over; absent when that is not known to have happened.
    pub handed_over_at: Option<Timestamp>,
    /// Where it stands.
    pub state: LeaseState,
    /// What it left alive.
    pub residue: Option<Residue>,
    /// How often the revocation was tried in vain.
    pub attempts: i64,
    /// The last failure of a revocation, cleaned of secrets.
    pub last_error: Option<String>,
}

impl Lease {
    /// Marks a lease as handed over.
    pub fn activate(mut self, at: Timestamp) -> Result<Self, InvalidTransition> {
        match self.state {
            LeaseState::Pending => {
                self.handed_over_at = Some(at);
                self.state = LeaseState::Active;
                Ok(self)
            }
            from => Err(InvalidTransition { verb: "activate", from: from.as_str() }),
        }
    }

    /// Starts the end: to `Ending` when something minted must be taken back, else to `Ended`.
    pub fn end(mut self, at: Timestamp, reason: EndReason) -> Result<Self, InvalidTransition> {
        match self.state {
            LeaseState::Pending | LeaseState::Active => {
                self.state = if self.handle.is_some() {
                    LeaseState::Ending { since: at, reason }
                } else {
                    LeaseState::Ended { at, reason }
                };
                Ok(self)
            }
            from => Err(InvalidTransition { verb: "end", from: from.as_str() }),
        }
    }

    /// Marks as over what the provider has taken back, or has never made.
    pub fn finish(
        mut self,
        at: Timestamp,
        residue: Option<Residue>,
    ) -> Result<Self, InvalidTransition> {
        match self.state {
            LeaseState::Ending { reason, .. } => {
                self.state = LeaseState::Ended { at, reason };
                self.residue = residue;
                Ok(self)
            }
            from => Err(InvalidTransition { verb: "finish", from: from.as_str() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(state: LeaseState, handle: Option<&str>) -> Lease {
        Lease {
            id: "lease_01arz3ndektsv4rrffq69g5fav".parse().unwrap(),
            organization: "org_01arz3ndektsv4rrffq69g5fav".parse().unwrap(),
            connection: "k7n4mz2q9rtxw3hb".parse().unwrap(),
            credential: "cred_01arz3ndektsv4rrffq69g5fav".parse().unwrap(),
            credential_version: 1,
            holder: Holder::Workload {
                workload: "work_01arz3ndektsv4rrffq69g5fav".parse().unwrap(),
            },
            operation: Operation::Material,
            narrowing: Narrowing::Stored,
            handle: handle.map(str::to_owned),
            settings: BTreeMap::new(),
            issued_at: Timestamp::from_millis(1),
            expires_at: Timestamp::from_millis(2),
            handed_over_at: None,
            state,
            residue: None,
            attempts: 0,
            last_error: None,
        }
    }

    #[test]
    fn a_minted_lease_waits_for_the_provider_before_it_is_over() {
        let now = Timestamp::from_millis(9);
        let ending =
            lease(LeaseState::Active, Some("kf")).end(now, EndReason::HolderEnded).unwrap();
        assert_eq!(ending.state.as_str(), "ending");
        assert_eq!(ending.finish(now, None).unwrap().state.as_str(), "ended");
    }

    #[test]
    fn a_stored_lease_is_over_at_once() {
        let now = Timestamp::from_millis(9);
        let ended = lease(LeaseState::Active, None).end(now, EndReason::Revoked).unwrap();
        assert_eq!(ended.state, LeaseState::Ended { at: now, reason: EndReason::Revoked });
    }

    #[test]
    fn only_what_was_handed_over_says_when() {
        let now = Timestamp::from_millis(9);
        let pending = lease(LeaseState::Pending, Some("kf"));
        assert_eq!(pending.clone().activate(now).unwrap().handed_over_at, Some(now));
        assert_eq!(pending.end(now, EndReason::MintFailed).unwrap().handed_over_at, None);
    }

    #[test]
    fn an_ended_lease_stays_ended() {
        let now = Timestamp::from_millis(9);
        let ended = || lease(LeaseState::Ended { at: now, reason: EndReason::Expired }, Some("kf"));
        assert!(ended().activate(now).is_err());
        assert!(ended().end(now, EndReason::Revoked).is_err());
        assert!(ended().finish(now, None).is_err());
    }

    #[test]
    fn a_crashed_mint_can_be_ended() {
        let now = Timestamp::from_millis(9);
        let ending =
            lease(LeaseState::Pending, Some("kf")).end(now, EndReason::HolderEnded).unwrap();
        assert_eq!(ending.state.as_str(), "ending");
    }
}
