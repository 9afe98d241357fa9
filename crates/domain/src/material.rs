//! The secret bytes of a lease, in the shapes that deliveries know.

use std::collections::BTreeMap;

use crate::secret::{SecretBytes, SecretString};

/// What a lease hands over.
#[derive(Debug, Clone)]
pub enum Material {
    /// User name and password, or a token in the password's place.
    Password {
        /// The user name; services that look at the token only accept any.
        username: String,
        /// The password or token.
        password: SecretString,
    },
    /// A private key for SSH.
    SshKey {
        /// The user name to connect with.
        username: String,
        /// The private key, OpenSSH PEM.
        private_key: SecretString,
        /// The host keys to accept, in the form of a `known_hosts` file.
        known_hosts: String,
        /// The `ssh://` address of the repository, when the lease is for one.
        url: Option<String>,
    },
    /// Named values and files.
    Values {
        /// Each value by its name.
        values: BTreeMap<String, SecretString>,
        /// Each file by its name.
        files: BTreeMap<String, SecretBytes>,
    },
}
