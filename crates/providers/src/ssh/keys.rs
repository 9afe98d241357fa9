//! Which keys this client takes: the private key it signs in with, and the kinds of host key it
//! can check.
//!
//! Ed25519 and ECDSA, and RSA with SHA-2 signatures only (RFC 8332). Signatures over SHA-1
//! (`ssh-rsa`) are neither made nor believed.

use russh::keys::{Algorithm, HashAlg, PrivateKey, decode_secret_key};

/// The fewest bits of an RSA key. Shorter ones were given up by OpenSSH and the large forges too.
pub(crate) const RSA_BITS_MIN: u32 = 2048;

/// The most bits of an RSA key: more would only buy the other side our time.
const RSA_BITS_MAX: u32 = 8192;

/// The hashes that RSA signatures may stand on, the wished one first.
const RSA_HASHES: [HashAlg; 2] = [HashAlg::Sha512, HashAlg::Sha256];

/// Why a private key cannot be used; fits after "the key". Never repeats the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyProblem {
    /// It has a passphrase.
    #[error("has a passphrase; Keyferry seals keys itself, so give it without one")]
    Passphrase,
    /// It is not readable.
    #[error("is not a private key that can be read: OpenSSH, PKCS#8 or PKCS#1 PEM")]
    Unreadable,
    /// It is of a kind that is not spoken here.
    #[error("is of a kind that is not supported; use an Ed25519, ECDSA or RSA key")]
    Kind,
    /// It is an RSA key of a length that is not taken.
    #[error(
        "is an RSA key of {bits} bits, and those of {RSA_BITS_MIN} to {RSA_BITS_MAX} are taken; \
         make an Ed25519 key or a longer RSA key"
    )]
    Length {
        /// Its length.
        bits: u32,
    },
}

/// Reads a private key and tells whether this client can sign in with it.
pub(crate) fn read_private_key(text: &str) -> Result<PrivateKey, KeyProblem> {
    let key = match decode_secret_key(text, None) {
        Ok(key) if key.is_encrypted() => return Err(KeyProblem::Passphrase),
        Ok(key) => key,
        Err(russh::keys::Error::KeyIsEncrypted) => return Err(KeyProblem::Passphrase),
        Err(_) if text.contains("ENCRYPTED") => return Err(KeyProblem::Passphrase),
        Err(_) => return Err(KeyProblem::Unreadable),
    };
    match key.key_data().rsa().map(russh::keys::ssh_key::private::RsaKeypair::key_size) {
        Some(bits) if !is_long_enough(bits) => Err(KeyProblem::Length { bits }),
        _ if is_spoken(&key.algorithm()) => Ok(key),
        _ => Err(KeyProblem::Kind),
    }
}

/// Tells whether an RSA key of this length is taken.
pub(super) fn is_long_enough(bits: u32) -> bool {
    (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits)
}

/// Tells whether this client makes and checks signatures of this kind.
pub(super) const fn is_spoken(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. })
}

/// Returns the signatures to ask for from the holder of a key.
pub(super) fn signatures_of(algorithm: Algorithm) -> Vec<Algorithm> {
    match algorithm {
        Algorithm::Rsa { .. } => {
            RSA_HASHES.iter().map(|hash| Algorithm::Rsa { hash: Some(*hash) }).collect()
        }
        other => vec![other],
    }
}

/// Tells whether a signature (RFC 4253 §6.6: the name of its algorithm, then its bytes) is over
/// SHA-1. The library checks it by whatever algorithm it names, asked for or not.
pub(super) fn is_over_sha1(signature: &[u8]) -> bool {
    signature.strip_prefix(&7_u32.to_be_bytes()).is_some_and(|rest| rest.starts_with(b"ssh-rsa"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_cannot_be_used_are_refused_with_a_reason() {
        for (text, problem) in [
            ("hello", KeyProblem::Unreadable),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
                KeyProblem::Unreadable,
            ),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                KeyProblem::Passphrase,
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                 DEK-Info: AES-128-CBC,000102030405060708090A0B0C0D0E0F\n\nAAAA\n\
                 -----END RSA PRIVATE KEY-----\n",
                KeyProblem::Passphrase,
            ),
        ] {
            assert_eq!(read_private_key(text).unwrap_err(), problem, "{text}");
        }
    }

    #[test]
    fn rsa_is_asked_for_with_sha2_only() {
        let asked: Vec<_> = signatures_of(Algorithm::Rsa { hash: None })
            .iter()
            .map(|algorithm| algorithm.as_str().to_owned())
            .collect();
        assert_eq!(asked, ["rsa-sha2-512", "rsa-sha2-256"]);
        assert_eq!(signatures_of(Algorithm::Ed25519), [Algorithm::Ed25519]);
        assert!(!is_spoken(&Algorithm::Dsa));
        for (bits, taken) in
            [(1024, false), (2047, false), (2048, true), (8192, true), (9000, false)]
        {
            assert_eq!(is_long_enough(bits), taken, "{bits}");
        }
    }

    #[test]
    fn a_signature_over_sha1_is_told_by_its_name() {
        let signature = |name: &[u8]| {
            let length = u32::try_from(name.len()).unwrap().to_be_bytes();
            [&length[..], name, &[0, 0, 0, 1, 9]].concat()
        };
        assert!(is_over_sha1(&signature(b"ssh-rsa")));
        for name in [&b"rsa-sha2-256"[..], b"rsa-sha2-512", b"ssh-ed25519", b""] {
            assert!(!is_over_sha1(&signature(name)));
        }
        assert!(!is_over_sha1(b""));
    }
}
