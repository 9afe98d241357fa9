//! The two doors for secrets on the wire: one in, one out.
//!
//! Neither type implements `Display`, and both print as stars, so a request or an answer can be
//! logged as a whole without telling anything.

use std::fmt;

use keyferry_domain::secret::{MASK, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// A secret that a caller sends in. No answer contains one.
#[derive(Clone, ToSchema)]
#[schema(value_type = String, format = Password)]
pub struct SecretInput(SecretString);

/// A secret that goes out: the material of a lease, or a token that was made just now and is
/// shown once. No stored credential is ever answered otherwise.
#[derive(Clone, ToSchema)]
#[schema(value_type = String, format = Password)]
pub struct Disclosed(SecretString);

macro_rules! door {
    ($name:ident) => {
        impl $name {
            /// Takes the secret to the other side.
            pub fn into_secret(self) -> SecretString {
                self.0
            }

            /// Returns the secret.
            pub const fn secret(&self) -> &SecretString {
                &self.0
            }
        }

        impl From<SecretString> for $name {
            fn from(secret: SecretString) -> Self {
                Self(secret)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(MASK)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.expose())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                SecretString::deserialize(deserializer).map(Self)
            }
        }
    };
}

door!(SecretInput);
door!(Disclosed);
