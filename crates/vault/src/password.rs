//! Password hashing with argon2id (RFC 9106). Slow on purpose: call it where blocking is allowed,
//! and behind a rate limit. What makes a good password is not decided here.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use keyferry_domain::Random;
use keyferry_domain::secret::SecretString;

use crate::random::SystemRandom;

/// Longer ones are refused, so that hashing stays a matter of memory and not of the password.
pub const MAX_PASSWORD_BYTES: usize = 1024;

// OWASP Password Storage Cheat Sheet: argon2id with 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// What a check of a password found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordCheck {
    /// It is the one.
    Matches {
        /// The stored hash was made with weaker settings than today's; replace it, now that the
        /// password is at hand.
        needs_rehash: bool,
    },
    /// It is not, or there is nobody with a password to compare with.
    Differs,
}

impl PasswordCheck {
    /// Tells whether it is the one.
    pub const fn is_match(self) -> bool {
        matches!(self, Self::Matches { .. })
    }
}

/// Why a password could not be hashed or checked. Never says anything of the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Nothing to hash.
    #[error("use an empty password")]
    Empty,
    /// Over [`MAX_PASSWORD_BYTES`].
    #[error("use a password of more than {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
    /// What is stored is no argon2id hash.
    #[error("read the stored password hash; it is damaged or of another kind")]
    Corrupt,
    /// The hash function gave up, for want of memory for instance.
    #[error("hash the password")]
    Failed,
}

fn argon2id() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES))
        .map_err(|_| PasswordError::Failed)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Returns the text to store for a password: parameters, salt and hash, in the PHC form.
pub fn hash_password(password: &SecretString) -> Result<String, PasswordError> {
    let password = password.expose().as_bytes();
    if password.is_empty() {
        return Err(PasswordError::Empty);
    }
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(PasswordError::TooLong);
    }
    let mut salt = [0_u8; SALT_BYTES];
    SystemRandom.fill(&mut salt);
    let hash: PasswordHash =
        argon2id()?.hash_password_with_salt(password, &salt).map_err(|_| PasswordError::Failed)?;
    Ok(hash.to_string())
}

/// Compares a password with the stored text. Pass `None` for a person who is unknown or has no
/// password: it takes as long and says no, so that nobody learns which names exist.
pub fn verify_password(
    password: &SecretString,
    stored: Option<&str>,
) -> Result<PasswordCheck, PasswordError> {
    let password = password.expose().as_bytes();
    // Too long to be anybody's; the same work is done all the same.
    let password = if password.len() > MAX_PASSWORD_BYTES { &[] } else { password };
    let Some(stored) = stored else {
        let mut wasted = [0_u8; HASH_BYTES];
        argon2id()?
            .hash_password_into(password, &[0; SALT_BYTES], &mut wasted)
            .map_err(|_| PasswordError::Failed)?;
        return Ok(PasswordCheck::Differs);
    };
    let hash = PasswordHash::new(stored).map_err(|_| PasswordError::Corrupt)?;
    let params = Params::try_from(&hash).map_err(|_| PasswordError::Corrupt)?;
    if hash.algorithm != Algorithm::Argon2id.ident() || hash.hash.is_none() {
        return Err(PasswordError::Corrupt);
    }
    // A hash that asks for more than sixteen times today's memory or passes was not written by us.
    if params.m_cost() > MEMORY_KIB * 16 || params.t_cost() > PASSES * 16 {
        return Err(PasswordError::Corrupt);
    }
    match argon2id()?.verify_password(password, &hash) {
        Ok(()) => Ok(PasswordCheck::Matches {
            needs_rehash: params.m_cost() < MEMORY_KIB
                || params.t_cost() < PASSES
                || hash.version != Some(Version::V0x13.into()),
        }),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(PasswordCheck::Differs),
        Err(_) => Err(PasswordError::Corrupt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weak(algorithm: Algorithm) -> String {
        let params = Params::new(64, 1, 1, Some(HASH_BYTES)).unwrap();
        let hash: PasswordHash = Argon2::new(algorithm, Version::V0x13, params)
            .hash_password_with_salt(b"hunter2", &[1; SALT_BYTES])
            .unwrap();
        hash.to_string()
    }

    #[test]
    fn the_right_password_matches_and_others_differ() {
        let stored = hash_password(&"hunter2".into()).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_eq!(
            verify_password(&"hunter2".into(), Some(&stored)),
            Ok(PasswordCheck::Matches { needs_rehash: false })
        );
        for wrong in ["hunter3", "", "hunter2 ", "HUNTER2", "hunter2\0"] {
            assert_eq!(verify_password(&wrong.into(), Some(&stored)), Ok(PasswordCheck::Differs));
        }
    }

    #[test]
    fn the_same_password_is_stored_differently_each_time() {
        let hash = || hash_password(&"hunter2".into()).unwrap();
        assert_ne!(hash(), hash());
    }

    #[test]
    fn nobody_matches_for_an_unknown_person() {
        for password in ["", "hunter2", &"x".repeat(MAX_PASSWORD_BYTES + 1)] {
            assert_eq!(verify_password(&password.into(), None), Ok(PasswordCheck::Differs));
        }
    }

    #[test]
    fn empty_and_endless_passwords_are_refused() {
        assert_eq!(hash_password(&"".into()), Err(PasswordError::Empty));
        let endless = "x".repeat(MAX_PASSWORD_BYTES + 1);
        assert_eq!(hash_password(&endless.as_str().into()), Err(PasswordError::TooLong));
        let stored = hash_password(&"x".repeat(MAX_PASSWORD_BYTES).into()).unwrap();
        assert_eq!(verify_password(&endless.into(), Some(&stored)), Ok(PasswordCheck::Differs));
    }

    #[test]
    fn a_weaker_hash_still_matches_and_asks_to_be_replaced() {
        assert_eq!(
            verify_password(&"hunter2".into(), Some(&weak(Algorithm::Argon2id))),
            Ok(PasswordCheck::Matches { needs_rehash: true })
        );
    }

    #[test]
    fn damaged_foreign_and_costly_hashes_are_refused() {
        let good = weak(Algorithm::Argon2id);
        for stored in [
            String::new(),
            "hunter2".to_owned(),
            weak(Algorithm::Argon2i),
            weak(Algorithm::Argon2d),
            good.replace("m=64", "m=4194304"),
            good.replace("t=1", "t=4000000"),
            good.rsplit_once('$').unwrap().0.to_owned(),
            "$2b$12$abcdefghijklmnopqrstuv".to_owned(),
        ] {
            assert_eq!(
                verify_password(&"hunter2".into(), Some(&stored)),
                Err(PasswordError::Corrupt),
                "{stored}"
            );
        }
    }
}
