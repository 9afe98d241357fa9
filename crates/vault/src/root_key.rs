//! Root keys: what wraps data keys. One trait, so that a key may live outside the process; the one
//! kind so far is [`LocalRootKey`], read from a file or the environment by [`crate::root_keys`].

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use keyferry_domain::Random;

use crate::aead::{self, KEY_BYTES};
use crate::digest;
use crate::random::SystemRandom;

/// The key that one sealed value is encrypted with. Kept only in wrapped form.
pub struct DataKey(Zeroizing<[u8; KEY_BYTES]>);

impl DataKey {
    /// Makes a new data key.
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom.fill(bytes.as_mut_slice());
        Self(bytes)
    }

    /// Takes over a key that a root key outside the process has unwrapped.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Returns the plain key, for a [`RootKey`] to wrap.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DataKey(****)")
    }
}

/// Why a root key gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootKeyError {
    /// The wrapped key was changed, cut off, wrapped for something else or by another key.
    #[error("unwrap the data key; it was changed, or wrapped for something else")]
    Refused,
    /// A key outside the process could not be asked. Trying again later may work.
    #[error("reach the root key `{id}`: {reason}")]
    Unavailable {
        /// The root key's id.
        id: String,
        /// What the key's keeper said, without secrets.
        reason: String,
    },
}

/// Wraps and unwraps data keys. `associated` ties the wrapped key to what it is for and must be
/// authenticated with it.
///
/// Synchronous: an implementation that asks over a network is called where blocking is allowed.
pub trait RootKey: Send + Sync {
    /// Returns the key's id, as it is written into every value that the key protects: at most 64
    /// letters, digits, `_`, `-` and `.`.
    fn id(&self) -> &str;

    /// Returns the wrapped data key.
    fn wrap(&self, data_key: &DataKey, associated: &[u8]) -> Result<Vec<u8>, RootKeyError>;

    /// Returns the data key, or refuses.
    fn unwrap(&self, wrapped: &[u8], associated: &[u8]) -> Result<DataKey, RootKeyError>;
}

/// A root key of 256 bits in this process's memory, wiped when dropped.
pub struct LocalRootKey {
    id: String,
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl LocalRootKey {
    /// Makes a new key.
    pub fn generate() -> Self {
        let mut bytes = [0; KEY_BYTES];
        SystemRandom.fill(&mut bytes);
        let key = Self::from_bytes(bytes);
        bytes.zeroize();
        key
    }

    /// Takes over a key. Its id is made from the key, so a mistyped key has another id and is
    /// noticed before it seals anything.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        let key = Zeroizing::new(bytes);
        // 64 bits of a one-way function of 256 random bits: tells keys apart, gives none away.
        let id = format!("rk_{}", &digest::tagged("keyferry root key id 1", &[&key[..]])[..16]);
        Self { id, key }
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.key
    }
}

impl RootKey for LocalRootKey {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, data_key: &DataKey, associated: &[u8]) -> Result<Vec<u8>, RootKeyError> {
        aead::encrypt(&self.key, associated, data_key.expose()).map_err(|_| RootKeyError::Refused)
    }

    fn unwrap(&self, wrapped: &[u8], associated: &[u8]) -> Result<DataKey, RootKeyError> {
        let plain =
            aead::decrypt(&self.key, associated, wrapped).map_err(|_| RootKeyError::Refused)?;
        let bytes: &[u8; KEY_BYTES] =
            plain.expose().as_slice().try_into().map_err(|_| RootKeyError::Refused)?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        key.copy_from_slice(bytes);
        Ok(DataKey(key))
    }
}

impl fmt::Debug for LocalRootKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LocalRootKey({}, ****)", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_key_is_bound_to_its_purpose_and_to_its_root_key() {
        let (root, other) = (LocalRootKey::generate(), LocalRootKey::generate());
        let data_key = DataKey::generate();
        let wrapped = root.wrap(&data_key, b"here").unwrap();
        assert_eq!(root.unwrap(&wrapped, b"here").unwrap().expose(), data_key.expose());
        assert_eq!(root.unwrap(&wrapped, b"there").unwrap_err(), RootKeyError::Refused);
        assert_eq!(other.unwrap(&wrapped, b"here").unwrap_err(), RootKeyError::Refused);
        assert_eq!(root.unwrap(&wrapped[1..], b"here").unwrap_err(), RootKeyError::Refused);
    }

    #[test]
    fn something_that_is_no_key_is_refused_even_when_the_root_key_wrapped_it() {
        let root = LocalRootKey::generate();
        let wrapped = aead::encrypt(root.expose(), b"here", b"short").unwrap();
        assert_eq!(root.unwrap(&wrapped, b"here").unwrap_err(), RootKeyError::Refused);
    }

    #[test]
    fn debug_shows_ids_and_no_keys() {
        let root = LocalRootKey::from_bytes([b'k'; KEY_BYTES]);
        let shown = format!("{root:?} {:?}", DataKey::from_bytes([b'k'; KEY_BYTES]));
        assert!(shown.contains(root.id()) && !shown.contains("kk") && !shown.contains("107"));
    }
}
