//! What every test here needs: a context, settings, credentials.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keyferry_domain::credential::CredentialKind;
use keyferry_domain::{FixedClock, Random, Timestamp};
use keyferry_providers::provider::{Repositories, Settings};
use keyferry_providers::{
    Context, Gate, GateSettings, Limits, OpenCredential, Provider, Target, find,
};

/// The password that must never show in any text.
pub(crate) const CANARY: &str = "canary-7Yq/+\"3 pass";

struct Zeros;

impl Random for Zeros {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// Makes a context whose gate allows these addresses.
pub(crate) fn context_allowing(allowed: &[&str], timeout: Duration) -> Context {
    let allowed = allowed.iter().map(|text| text.parse().unwrap()).collect();
    Context {
        clock: Arc::new(FixedClock::at(Timestamp::parse("2026-01-01T00:00:00Z").unwrap())),
        random: Arc::new(Zeros),
        gate: Arc::new(Gate::new(GateSettings { allowed }, Limits::default())),
        timeout,
    }
}

/// Makes a context that may reach loopback and has time.
pub(crate) fn context() -> Context {
    context_allowing(&["127.0.0.0/8"], Duration::from_secs(20))
}

/// Makes settings.
pub(crate) fn settings(pairs: &[(&str, &str)]) -> Settings {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn credential(
    kind: CredentialKind,
    public: &[(&str, &str)],
    secrets: &[(&str, &str)],
) -> OpenCredential {
    OpenCredential {
        kind,
        public: settings(public),
        secrets: secrets
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect(),
        files: BTreeMap::new(),
    }
}

/// Makes a credential of user name and password.
pub(crate) fn password(username: &str, password: &str) -> OpenCredential {
    credential(
        CredentialKind::UsernamePassword,
        &[("username", username)],
        &[("password", password)],
    )
}

/// Makes a token credential.
pub(crate) fn token(token: &str) -> OpenCredential {
    credential(CredentialKind::Token, &[], &[("token", token)])
}

/// Makes an SSH key credential.
pub(crate) fn ssh_key(private_key: &str) -> OpenCredential {
    credential(CredentialKind::SshKey, &[("username", "git")], &[("private_key", private_key)])
}

/// Returns the provider under test.
pub(crate) fn git() -> &'static dyn Provider {
    find("GIT").unwrap()
}

/// Returns its repository side.
pub(crate) fn repositories() -> &'static dyn Repositories {
    git().repositories().unwrap()
}

/// Joins settings and credential.
pub(crate) const fn target<'a>(
    settings: &'a Settings,
    credential: &'a OpenCredential,
) -> Target<'a> {
    Target { settings, credential }
}
