//! AES-256-GCM with a fresh random nonce in front of each message. Nothing else in Keyferry
//! encrypts; who calls this decides what the associated data says.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use keyferry_domain::Random;
use keyferry_domain::secret::SecretBytes;
use zeroize::Zeroizing;

use crate::random::SystemRandom;

/// The length of an AES-256 key.
pub(crate) const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// The cipher refused: a wrong key, other associated data, or changed bytes. Which one of them is
/// not to be known, by design of the cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

fn cipher(key: &[u8; KEY_BYTES]) -> Result<LessSafeKey, Refused> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| Refused)
}

/// Returns nonce, ciphertext and tag of the plain bytes.
///
/// Random nonces of 96 bits are safe for 2^32 messages under one key (NIST SP 800-38D §8.3). A data
/// key seals one message; a root key wraps one data key per credential version.
pub(crate) fn encrypt(
    key: &[u8; KEY_BYTES],
    associated: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, Refused> {
    let mut nonce = [0_u8; NONCE_LEN];
    SystemRandom.fill(&mut nonce);
    // Room for everything at once: growing would leave a copy of the plain bytes behind.
    let mut message = Zeroizing::new(Vec::with_capacity(plain.len() + TAG_BYTES));
    message.extend_from_slice(plain);
    let tag = cipher(key)?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(associated),
            &mut message,
        )
        .map_err(|_| Refused)?;
    Ok([&nonce[..], &message[..], tag.as_ref()].concat())
}

/// Returns the plain bytes, or refuses.
pub(crate) fn decrypt(
    key: &[u8; KEY_BYTES],
    associated: &[u8],
    message: &[u8],
) -> Result<SecretBytes, Refused> {
    let (nonce, rest) = message.split_first_chunk::<NONCE_LEN>().ok_or(Refused)?;
    let mut buffer = Zeroizing::new(rest.to_vec());
    let plain_bytes = cipher(key)?
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(associated),
            buffer.as_mut_slice(),
        )
        .map_err(|_| Refused)?
        .len();
    buffer.truncate(plain_bytes);
    Ok(SecretBytes::new(std::mem::take(&mut *buffer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_never_look_the_same_twice() {
        let key = [7; KEY_BYTES];
        assert_ne!(encrypt(&key, b"a", b"plain").unwrap(), encrypt(&key, b"a", b"plain").unwrap());
    }

    #[test]
    fn another_key_other_data_or_too_few_bytes_are_refused() {
        let message = encrypt(&[7; KEY_BYTES], b"a", b"plain").unwrap();
        assert_eq!(decrypt(&[7; KEY_BYTES], b"a", &message).unwrap().expose(), b"plain");
        assert_eq!(decrypt(&[8; KEY_BYTES], b"a", &message).unwrap_err(), Refused);
        assert_eq!(decrypt(&[7; KEY_BYTES], b"b", &message).unwrap_err(), Refused);
        for length in 0..message.len() {
            assert_eq!(decrypt(&[7; KEY_BYTES], b"a", &message[..length]).unwrap_err(), Refused);
        }
    }
}
