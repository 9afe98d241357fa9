//! Secret values: printed as stars, wiped on drop, read only through [`Secret::expose`].
//!
//! There is deliberately no `Serialize`, `Display`, `Deref` or `PartialEq`: each of them is a
//! quiet way for a secret to get out. The one wire type that carries secrets lives in `api`.

use std::fmt;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroize;

/// What a secret prints as, everywhere.
pub const MASK: &str = "****";

/// A value that must not be shown: `Debug` prints [`MASK`], dropping wipes it.
pub struct Secret<T: Zeroize>(T);

/// Secret text: a password, a token, a private key in PEM.
pub type SecretString = Secret<String>;

/// Secret bytes: a file's content.
pub type SecretBytes = Secret<Vec<u8>>;

impl<T: Zeroize> Secret<T> {
    /// Wraps a value; from here on it can be read only by [`Self::expose`].
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the plain value. Each call is a place to look at in review.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize + Clone> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

impl From<&str> for SecretString {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl From<String> for SecretString {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl<'de> Deserialize<'de> for SecretString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_value() {
        let secret = SecretString::from("hunter2");
        assert_eq!(format!("{secret:?}"), "****");
        assert_eq!(format!("{:?}", Some(&secret)), "Some(****)");
    }

    #[test]
    fn expose_returns_what_went_in() {
        assert_eq!(SecretString::from("hunter2").expose(), "hunter2");
    }
}
