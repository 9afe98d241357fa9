//! A service connection: the named, typed link to one outside service.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::clock::{Random, Timestamp};
use crate::named::named;

/// What pipelines write to name a connection: 3 to 64 lower-case letters, digits and hyphens.
///
/// Unique in its organization, never changed, never used again after deletion.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ConnectionId(String);

/// The text is not a connection ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "use `{text}` as a connection ID; it takes 3 to 64 lower-case letters, digits and hyphens, \
     with a letter or digit at both ends"
)]
pub struct InvalidConnectionId {
    text: String,
}

/// Generated IDs have no look-alikes: no `0 o 1 l i`.
const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";

impl ConnectionId {
    /// Makes an ID of 16 characters without look-alikes.
    pub fn generate(random: &dyn Random) -> Self {
        let mut text = String::with_capacity(16);
        let mut bytes = [0_u8; 32];
        while text.len() < 16 {
            random.fill(&mut bytes);
            // 248 is the largest multiple of 31 in a byte; higher ones would favour some letters.
            for byte in bytes.iter().filter(|byte| **byte < 248).take(16 - text.len()) {
                text.push(char::from(ALPHABET[usize::from(byte % 31)]));
            }
        }
        Self(text)
    }

    /// Returns the ID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ConnectionId {
    type Err = InvalidConnectionId;

    fn from_str(text: &str) -> Result<Self, InvalidConnectionId> {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends_well = text.bytes().next().is_some_and(is_word)
            && text.bytes().next_back().is_some_and(is_word);
        let is_valid = (3..=64).contains(&text.len())
            && ends_well
            && text.bytes().all(|byte| is_word(byte) || byte == b'-');
        if is_valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidConnectionId { text: text.chars().take(80).collect() })
        }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ConnectionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

named! {
    /// What the last try of a connection's credential against its service found.
    HealthStatus {
        /// The service accepted the credential.
        Healthy = "healthy",
        /// The service refused the credential.
        Rejected = "rejected",
        /// The service did not answer, or not in a way that says yes or no.
        Unreachable = "unreachable",
        /// A setting is wrong.
        Misconfigured = "misconfigured",
        /// Nobody has tried yet.
        Unverified = "unverified",
    }
}

/// The health of a connection. `reason` holds the service's words, cleaned of secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What was found.
    pub status: HealthStatus,
    /// Why, for a person.
    pub reason: Option<String>,
    /// The setting that is wrong, for `misconfigured`.
    pub field: Option<String>,
    /// When it was tried; absent while nobody has.
    pub checked_at: Option<Timestamp>,
}

impl Health {
    /// The health of a connection that nobody has tried.
    pub const UNVERIFIED: Self =
        Self { status: HealthStatus::Unverified, reason: None, field: None, checked_at: None };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_ids_follow_the_rule() {
        for text in ["abc", "k7n4mz2q9rtxw3hb", "staging-cluster", &"a".repeat(64)] {
            assert_eq!(text.parse::<ConnectionId>().unwrap().as_str(), text);
        }
        for text in
            ["", "ab", "-ab", "ab-", "Abc", "a b", "a_b", "äbc", &"a".repeat(65), "a/b", "abc\n"]
        {
            assert!(text.parse::<ConnectionId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn generated_ids_have_no_look_alikes_and_are_valid() {
        struct Counting;
        impl Random for Counting {
            fn fill(&self, bytes: &mut [u8]) {
                for (index, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::try_from(index * 9 % 256).unwrap();
                }
            }
        }
        let id = ConnectionId::generate(&Counting);
        assert_eq!(id.as_str().len(), 16);
        assert!(!id.as_str().contains(['0', 'o', '1', 'l', 'i']));
        assert!(id.as_str().parse::<ConnectionId>().is_ok());
    }
}
