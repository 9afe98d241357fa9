//! Credentials: the long-lived authority that a connection stands on.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::named::named;

named! {
    /// What a credential consists of. Each kind's fields are declared once, in `providers`.
    CredentialKind {
        /// A user name and a password, or a token in the password's place.
        UsernamePassword = "username_password",
        /// A token alone.
        Token = "token",
        /// A private SSH key.
        SshKey = "ssh_key",
        /// Named values and files.
        Values = "values",
    }
}

/// Where one version of a credential stands. Versions count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum VersionState {
    /// New leases use it.
    Current,
    /// Replaced; running jobs may finish with it, and it can be made current again, until then.
    Previous {
        /// When it is wiped.
        until: Timestamp,
    },
    /// Wiped; only the fact that it existed is left.
    Retired {
        /// When it was wiped.
        at: Timestamp,
    },
}
