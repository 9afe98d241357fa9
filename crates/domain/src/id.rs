//! Identifiers: one type per thing, time-ordered, with a prefix that says what it names.
//!
//! The connection's ID is different, since people write it into pipelines: see
//! [`crate::connection::ConnectionId`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::{Clock, Random};

/// The text is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read `{text}` as {article}; expected `{prefix}` and 26 letters and digits")]
pub struct InvalidId {
    text: String,
    article: &'static str,
    prefix: &'static str,
}

/// Returns prefix plus the 26 lower-case characters of a ULID made of the time and 10 random bytes.
fn generate(prefix: &str, clock: &dyn Clock, random: &dyn Random) -> String {
    let mut entropy = [0_u8; 16];
    random.fill(&mut entropy);
    let millis = u64::try_from(clock.now().millis()).unwrap_or(0);
    let ulid = ulid::Ulid::from_parts(millis, u128::from_be_bytes(entropy));
    format!("{prefix}{}", ulid.to_string().to_ascii_lowercase())
}

fn parse(text: &str, prefix: &'static str, article: &'static str) -> Result<String, InvalidId> {
    let shown: String = text.chars().take(64).collect();
    let invalid = || InvalidId { text: shown.clone(), article, prefix };
    let rest = text.strip_prefix(prefix).ok_or_else(invalid)?;
    let ulid = ulid::Ulid::from_string(&rest.to_ascii_uppercase()).map_err(|_| invalid())?;
    // Decoding is lenient about look-alikes; only the spelling that we write is an id.
    if ulid.to_string().to_ascii_lowercase() == rest { Ok(text.to_owned()) } else { Err(invalid()) }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $article:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes a new id; ids made later sort later.
            pub fn generate(clock: &dyn Clock, random: &dyn Random) -> Self {
                Self(generate($prefix, clock, random))
            }

            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text, $prefix, $article).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A tenant.
    OrganizationId = "org_", "an organization's id";
    /// A person.
    UserId = "user_", "a user's id";
    /// A named set of users.
    GroupId = "group_", "a group's id";
    /// A user's API token, or a runner's.
    TokenId = "tok_", "a token's id";
    /// A signed-in session.
    SessionId = "sess_", "a session's id";
    /// The long-lived authority that connections stand on.
    CredentialId = "cred_", "a credential's id";
    /// A pipeline.
    PipelineId = "pipe_", "a pipeline's id";
    /// A pipeline's right to use a connection in one place.
    BindingId = "bind_", "a binding's id";
    /// One execution of a pipeline.
    RunId = "run_", "a run's id";
    /// One job of a run.
    JobId = "job_", "a job's id";
    /// A command outside pipelines that holds leases.
    WorkloadId = "work_", "a workload's id";
    /// A program that executes jobs.
    RunnerId = "runner_", "a runner's id";
    /// One issue of access.
    LeaseId = "lease_", "a lease's id";
    /// One line of the audit record.
    EventId = "evt_", "an audit event's id";
    /// One request to the server.
    RequestId = "req_", "a request's id";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{FixedClock, Timestamp};
    use std::time::Duration;

    struct Sevens;
    impl Random for Sevens {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    #[test]
    fn ids_carry_their_prefix_and_are_read_back() {
        let clock = FixedClock::at(Timestamp::from_millis(1_767_225_600_000));
        let id = LeaseId::generate(&clock, &Sevens);
        assert!(id.as_str().starts_with("lease_"));
        assert_eq!(id.as_str().len(), "lease_".len() + 26);
        assert_eq!(id.as_str().parse::<LeaseId>(), Ok(id));
    }

    #[test]
    fn later_ids_sort_later() {
        let clock = FixedClock::at(Timestamp::from_millis(1_767_225_600_000));
        let first = RunId::generate(&clock, &Sevens);
        clock.advance(Duration::from_millis(1));
        assert!(RunId::generate(&clock, &Sevens) > first);
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let clock = FixedClock::at(Timestamp::from_millis(1));
        let id = RunId::generate(&clock, &Sevens);
        let error = id.as_str().parse::<LeaseId>().unwrap_err();
        assert!(error.to_string().contains("expected `lease_`"));
    }

    #[test]
    fn spellings_that_we_do_not_write_are_refused() {
        for text in [
            "lease_",
            "lease_01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "lease_01arz3ndektsv4rrffq69g5fai",
            "",
            "lease_x",
        ] {
            assert!(text.parse::<LeaseId>().is_err(), "{text}");
        }
    }
}
