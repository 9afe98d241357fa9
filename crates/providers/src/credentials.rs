//! The kinds of credential and their fields, declared once for the API, the CLI, the console and
//! the reference docs.
//!
//! What a kind means to a service is the provider's business; what an input must look like is
//! checked in [`crate::validate`].

use keyferry_domain::credential::CredentialKind;

use crate::provider::{CredentialForm, Field, Format};

/// The user name that goes with a token when none is given. Services that look at the token alone
/// take any name; GitLab asks for exactly this one beside OAuth tokens.
pub const DEFAULT_TOKEN_USERNAME: &str = "oauth2";

/// A user name and a password, or a token in the password's place.
pub const USERNAME_PASSWORD: CredentialForm = CredentialForm {
    kind: CredentialKind::UsernamePassword,
    title: "User name and password",
    fields: &[
        Field {
            name: "username",
            label: "User name",
            help: "The name to sign in with",
            is_required: true,
            is_secret: false,
            is_multiline: false,
            default: None,
            format: Format::Text,
        },
        Field {
            name: "password",
            label: "Password",
            help: "The password, or a token that the service takes in its place",
            is_required: true,
            is_secret: true,
            is_multiline: false,
            default: None,
            format: Format::Text,
        },
    ],
};

/// A token alone.
pub const TOKEN: CredentialForm = CredentialForm {
    kind: CredentialKind::Token,
    title: "Token",
    fields: &[
        Field {
            name: "username",
            label: "User name",
            help: "The name to send beside the token; most services take any",
            is_required: false,
            is_secret: false,
            is_multiline: false,
            default: Some(DEFAULT_TOKEN_USERNAME),
            format: Format::Text,
        },
        Field {
            name: "token",
            label: "Token",
            help: "An access token of the service",
            is_required: true,
            is_secret: true,
            is_multiline: false,
            default: None,
            format: Format::Text,
        },
    ],
};

/// A private SSH key.
pub const SSH_KEY: CredentialForm = CredentialForm {
    kind: CredentialKind::SshKey,
    title: "SSH key",
    fields: &[
        Field {
            name: "username",
            label: "User name",
            help: "The name to connect with; forges take `git`",
            is_required: false,
            is_secret: false,
            is_multiline: false,
            default: Some("git"),
            format: Format::Text,
        },
        Field {
            name: "private_key",
            label: "Private key",
            help: "The private key: Ed25519, ECDSA, or RSA of 2048 bits or more; PEM, without a passphrase",
            is_required: true,
            is_secret: true,
            is_multiline: true,
            default: None,
            format: Format::PrivateKeyPem,
        },
    ],
};

/// Named values and files. The names are chosen by the person, so there are no declared fields.
///
/// A job can receive them as a Service Binding directory, one file per name. There the names
/// `type` and `provider` mean something to the libraries that read it (Service Binding 1.1): they
/// say what kind of service this is (`postgresql`) and whose. A value of that name takes the
/// place of what Keyferry writes by itself.
pub const VALUES: CredentialForm =
    CredentialForm { kind: CredentialKind::Values, title: "Values and files", fields: &[] };

/// Every kind of credential.
pub const ALL: &[&CredentialForm] = &[&USERNAME_PASSWORD, &TOKEN, &SSH_KEY, &VALUES];

/// Returns the form of a kind.
pub fn form(kind: CredentialKind) -> &'static CredentialForm {
    match kind {
        CredentialKind::UsernamePassword => &USERNAME_PASSWORD,
        CredentialKind::Token => &TOKEN,
        CredentialKind::SshKey => &SSH_KEY,
        CredentialKind::Values => &VALUES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_exactly_one_form() {
        assert_eq!(ALL.len(), CredentialKind::ALL.len());
        for kind in CredentialKind::ALL {
            assert_eq!(form(*kind).kind, *kind);
            assert_eq!(ALL.iter().filter(|form| form.kind == *kind).count(), 1);
        }
    }

    #[test]
    fn a_secret_never_has_a_default() {
        for field in ALL.iter().flat_map(|form| form.fields) {
            assert!(!field.is_secret || field.default.is_none(), "{}", field.name);
        }
    }
}
