//! Marks of requests: what is kept of a request to tell later whether another one is the same.
//!
//! A request may hold a password that is easily guessed, so a plain hash of it in a stolen database
//! would let anyone try passwords until one fits. A mark is an HMAC-SHA256 under a random key that
//! only the root keys unwrap; without them it cannot be compared with anything.

use std::sync::OnceLock;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::root_key::{DataKey, RootKeyError};
use crate::root_keys::RootKeys;
use crate::sealed::OpenError;
use crate::vault::Vault;

const FORMAT: &str = "kf-mark-1";

/// The key that this process marks with, made when it is first needed. One for all marks: each
/// wrapping counts against the limit of messages that the root key may encrypt.
#[derive(Debug, Default)]
pub(crate) struct MarkKey(OnceLock<Made>);

#[derive(Debug)]
struct Made {
    key: DataKey,
    /// What marks begin with: format, the root key's id, the wrapped key.
    head: String,
}

impl MarkKey {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    fn get(&self, root_keys: &RootKeys) -> Result<&Made, RootKeyError> {
        if let Some(made) = self.0.get() {
            return Ok(made);
        }
        let root_key = root_keys.current();
        let key = DataKey::generate();
        let wrapped = URL_SAFE_NO_PAD.encode(root_key.wrap(&key, FORMAT.as_bytes())?);
        let head = format!("{FORMAT}:{}:{wrapped}", root_key.id());
        // Of two that make one at once, both use the first.
        Ok(self.0.get_or_init(|| Made { key, head }))
    }
}

impl Vault {
    /// Marks a request, given in parts; where one part ends matters.
    pub fn mark_request(&self, parts: &[&[u8]]) -> Result<String, RootKeyError> {
        let made = self.mark_key().get(self.root_keys())?;
        let tag = hmac::sign(&hmac_key(&made.key), &joined(parts));
        Ok(format!("{}:{}", made.head, URL_SAFE_NO_PAD.encode(tag)))
    }

    /// Tells whether a mark is of a request with these parts.
    pub fn is_marked_request(&self, mark: &str, parts: &[&[u8]]) -> Result<bool, OpenError> {
        let malformed = |part| OpenError::Malformed { part };
        let mut texts = mark.split(':');
        if texts.next() != Some(FORMAT) {
            return Err(OpenError::Unsupported { part: "format" });
        }
        let (Some(id), Some(wrapped), Some(tag), None) =
            (texts.next(), texts.next(), texts.next(), texts.next())
        else {
            return Err(malformed("list of parts"));
        };
        let root_key = self
            .root_keys()
            .find(id)
            .ok_or_else(|| OpenError::UnknownRootKey { id: id.chars().take(64).collect() })?;
        let wrapped = URL_SAFE_NO_PAD.decode(wrapped).map_err(|_| malformed("wrapped key"))?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| malformed("tag"))?;
        let key = root_key.unwrap(&wrapped, FORMAT.as_bytes()).map_err(OpenError::RootKey)?;
        // Compares in constant time.
        Ok(hmac::verify(&hmac_key(&key), &joined(parts), &tag).is_ok())
    }
}

fn hmac_key(key: &DataKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.expose())
}

/// A hash of the parts with their lengths, so that a request of megabytes is read in place and no
/// other parts give the same bytes.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    crate::digest::tagged("keyferry request 1", parts).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root_key::LocalRootKey;

    const REQUEST: &[&[u8]] = &[b"POST", b"/tokens", b"{\"password\":\"1234\"}"];

    #[test]
    fn a_mark_fits_the_same_request_and_no_other() {
        let vault = Vault::new(RootKeys::ephemeral());
        let mark = vault.mark_request(REQUEST).unwrap();
        assert!(vault.is_marked_request(&mark, REQUEST).unwrap());
        let others: [&[&[u8]]; 4] = [
            &[b"POST", b"/tokens", b"{\"password\":\"1235\"}"],
            &[b"POST/", b"tokens", b"{\"password\":\"1234\"}"],
            &[b"POST", b"/tokens"],
            &[],
        ];
        for other in others {
            assert!(!vault.is_marked_request(&mark, other).unwrap());
        }
    }

    #[test]
    fn a_mark_is_read_after_a_rotation_and_by_nobody_without_the_root_key() {
        let key = [7; 32];
        let before = Vault::new(RootKeys::new(Box::new(LocalRootKey::from_bytes(key)), Vec::new()));
        let mark = before.mark_request(REQUEST).unwrap();
        let old: Box<dyn crate::RootKey> = Box::new(LocalRootKey::from_bytes(key));
        let after = Vault::new(RootKeys::new(Box::new(LocalRootKey::generate()), vec![old]));
        assert!(after.is_marked_request(&mark, REQUEST).unwrap());
        let stranger = Vault::new(RootKeys::ephemeral());
        let refused = stranger.is_marked_request(&mark, REQUEST).unwrap_err();
        assert!(matches!(refused, OpenError::UnknownRootKey { .. }), "{refused}");
    }

    #[test]
    fn the_same_request_is_marked_unlike_by_another_process() {
        let (one, other) = (Vault::new(RootKeys::ephemeral()), Vault::new(RootKeys::ephemeral()));
        assert_ne!(one.mark_request(REQUEST).unwrap(), other.mark_request(REQUEST).unwrap());
        assert_eq!(one.mark_request(REQUEST).unwrap(), one.mark_request(REQUEST).unwrap());
    }

    #[test]
    fn damaged_marks_are_refused() {
        let vault = Vault::new(RootKeys::ephemeral());
        let mark = vault.mark_request(REQUEST).unwrap();
        for damaged in ["", "kf-mark-2:a:b:c", "kf-mark-1:a:b", &format!("{mark}:more")] {
            vault.is_marked_request(damaged, REQUEST).unwrap_err();
        }
        let (head, _) = mark.rsplit_once(':').unwrap();
        assert!(!vault.is_marked_request(&format!("{head}:AAAA"), REQUEST).unwrap());
        vault.is_marked_request(&format!("{head}:*"), REQUEST).unwrap_err();
    }
}
