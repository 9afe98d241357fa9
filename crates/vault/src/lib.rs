//! Seals and opens credentials, keeps root keys, hashes tokens and passwords. The only crypto.
//!
//! Knows neither SQL nor HTTP, and never decides who may see what: by the time a value is opened,
//! `policy` has said yes. Start with [`Vault`]; the stored form is in [`sealed`], the keys that
//! protect it in [`root_keys`].

mod aead;
pub mod credential_secrets;
pub mod digest;
mod key_file;
pub mod password;
mod random;
mod request_mark;
pub mod root_key;
pub mod root_keys;
pub mod sealed;
mod vault;

pub use credential_secrets::CredentialSecrets;
pub use digest::{constant_time_equal, fingerprint, hash_token, link};
pub use password::{PasswordCheck, PasswordError, hash_password, verify_password};
pub use random::SystemRandom;
pub use root_key::{DataKey, LocalRootKey, RootKey, RootKeyError};
pub use root_keys::{RootKeys, RootKeysError};
pub use sealed::{OpenError, SealContext, SealError, Sealed};
pub use vault::{MAX_VALUE_BYTES, Vault};
