//! The stored form of a sealed value: one line of text that says how it is protected and what for.
//!
//! ```text
//! kf-sealed-1:aes-256-gcm:<root key>:<organization>:<credential>:<version>:<field>:<wrapped data key>:<message>
//! ```
//!
//! Everything before the last two parts is associated data of both ciphers (of the message without
//! the root key's id, so that a rotation rewraps the data key and leaves the message alone). The
//! text is safe to store and to show; only [`crate::Vault`] can read it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyferry_domain::id::{CredentialId, OrganizationId};

use crate::root_key::RootKeyError;

const FORMAT: &str = "kf-sealed-1";
const ALGORITHM: &str = "aes-256-gcm";
/// Names what [`crate::Vault::seal_credential`] seals; a field's name cannot be this.
const CREDENTIAL_FIELD: &str = "credential-secrets";

/// What a sealed value is for. It opens for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealContext<'a> {
    /// The tenant.
    pub organization: &'a OrganizationId,
    /// The credential.
    pub credential: &'a CredentialId,
    /// The credential's version.
    pub version: i64,
    /// The field: 1 to 64 lower-case letters, digits, `_`, `-` and `.`.
    pub field: &'a str,
}

impl<'a> SealContext<'a> {
    /// The context of all secrets of one credential version together.
    pub const fn credential(
        organization: &'a OrganizationId,
        credential: &'a CredentialId,
        version: i64,
    ) -> Self {
        Self { organization, credential, version, field: CREDENTIAL_FIELD }
    }
}

/// Why a value could not be sealed. Says nothing of the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The field's name does not fit the stored form.
    #[error(
        "use `{field}` as a field's name; it takes lower-case letters, digits, `_`, `-` and `.`"
    )]
    Field {
        /// The name.
        field: String,
    },
    /// The value is over the limit.
    #[error("seal {size_bytes} bytes; the limit is {limit_bytes}")]
    TooBig {
        /// Its size.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The cipher gave up.
    #[error("encrypt the value")]
    Cipher,
    /// The root key could not wrap the data key.
    #[error("wrap the data key")]
    RootKey(#[source] RootKeyError),
}

/// Why a sealed value could not be opened. Never carries any part of the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is cut off, or was never a sealed value.
    #[error("read the sealed value; its {part} is damaged or missing")]
    Malformed {
        /// Which part.
        part: &'static str,
    },
    /// It was sealed by a newer Keyferry, or its header was changed.
    #[error("read the sealed value; its {part} is one that this version does not know")]
    Unsupported {
        /// Which part.
        part: &'static str,
    },
    /// It was sealed for something else: a row was mixed up, or moved on purpose.
    #[error("open the sealed value; it was sealed for another {part}")]
    WrongContext {
        /// `organization`, `credential`, `version` or `field`.
        part: &'static str,
    },
    /// The root key that protects it is not among those given.
    #[error("find the root key `{id}`; the value was sealed with it, add it to the root keys")]
    UnknownRootKey {
        /// The root key's id.
        id: String,
    },
    /// The root key refused or was out of reach.
    #[error("unwrap the sealed value's data key")]
    RootKey(#[source] RootKeyError),
    /// The message was changed after it was sealed.
    #[error("open the sealed value; it was changed after it was sealed")]
    Altered,
}

/// A sealed value in its stored form. Ciphertext: safe to store, useless without a root key.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    pub(crate) root_key: String,
    /// Organization, credential, version and field, as written.
    pub(crate) purpose: [String; 4],
    pub(crate) wrapped_key: Vec<u8>,
    pub(crate) message: Vec<u8>,
}

const PURPOSE_PARTS: [&str; 4] = ["organization", "credential", "version", "field"];

impl Sealed {
    /// Returns the id of the root key that protects the value.
    pub fn root_key_id(&self) -> &str {
        &self.root_key
    }

    /// Returns what the message is bound to.
    pub(crate) fn message_associated(&self) -> String {
        format!("{FORMAT}:{ALGORITHM}:message:{}", self.purpose.join(":"))
    }

    /// Returns what the wrapped data key is bound to, when `root_key` wraps it.
    pub(crate) fn key_associated(&self, root_key: &str) -> String {
        format!("{FORMAT}:{ALGORITHM}:{root_key}:{}", self.purpose.join(":"))
    }

    /// Refuses a value that was sealed for something else.
    pub(crate) fn check_purpose(&self, context: &SealContext<'_>) -> Result<(), OpenError> {
        let expected = purpose(context);
        match (0..4).find(|index| self.purpose[*index] != expected[*index]) {
            Some(index) => Err(OpenError::WrongContext { part: PURPOSE_PARTS[index] }),
            None => Ok(()),
        }
    }
}

/// Returns the four parts that say what a value is for.
pub(crate) fn purpose(context: &SealContext<'_>) -> [String; 4] {
    [
        context.organization.to_string(),
        context.credential.to_string(),
        context.version.to_string(),
        context.field.to_owned(),
    ]
}

/// Tells whether a name can stand in the stored form.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte)
        })
}

impl FromStr for Sealed {
    type Err = OpenError;

    fn from_str(text: &str) -> Result<Self, OpenError> {
        let malformed = |part| OpenError::Malformed { part };
        let mut parts = text.split(':');
        let mut next = |part| parts.next().ok_or(malformed(part));
        if next("format")? != FORMAT {
            return Err(if text.starts_with("kf-sealed-") {
                OpenError::Unsupported { part: "format" }
            } else {
                malformed("format")
            });
        }
        if next("algorithm")? != ALGORITHM {
            return Err(OpenError::Unsupported { part: "algorithm" });
        }
        let root_key = next("root key")?;
        let purpose =
            [next("organization")?, next("credential")?, next("version")?, next("field")?]
                .map(ToOwned::to_owned);
        let decode = |part, encoded: &str| {
            // Strict: one text for one value, so that a changed character never goes unnoticed.
            URL_SAFE_NO_PAD.decode(encoded).map_err(|_| malformed(part))
        };
        let wrapped_key = decode("data key", next("data key")?)?;
        let message = decode("message", next("message")?)?;
        if parts.next().is_some() {
            return Err(malformed("end"));
        }
        Ok(Self { root_key: root_key.to_owned(), purpose, wrapped_key, message })
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{FORMAT}:{ALGORITHM}:{}:{}:{}:{}",
            self.root_key,
            self.purpose.join(":"),
            URL_SAFE_NO_PAD.encode(&self.wrapped_key),
            URL_SAFE_NO_PAD.encode(&self.message),
        )
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sealed({} by {})", self.purpose.join(":"), self.root_key)
    }
}
