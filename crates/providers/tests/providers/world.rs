//! What provider tests share: a context whose gate lets loopback pass, and connections to use.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use keyferry_domain::credential::CredentialKind;
use keyferry_domain::lease::Residue;
use keyferry_domain::material::Material;
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::{Random, SystemClock};
use keyferry_providers::provider::{Issued, Plan, Settings};
use keyferry_providers::{
    Context, Gate, GateSettings, Limits, OpenCredential, Provider, ProviderError, Target,
};

/// Unpredictable enough for keys that live as long as a test.
struct TestRandom;

impl Random for TestRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = RandomState::new().build_hasher().finish().to_le_bytes()[0];
        }
    }
}

/// Returns a context that may reach loopback, with this time for a call.
pub(crate) fn context_within(timeout: Duration) -> Context {
    let allowed = ["127.0.0.0/8", "::1"].map(|text| text.parse().unwrap()).to_vec();
    Context {
        clock: Arc::new(SystemClock),
        random: Arc::new(TestRandom),
        gate: Arc::new(Gate::new(GateSettings { allowed }, Limits::default())),
        timeout,
    }
}

/// Returns a context for real peers.
pub(crate) fn context() -> Context {
    context_within(Duration::from_secs(30))
}

/// A connection without a store around it.
pub(crate) struct Connection {
    pub(crate) provider: &'static dyn Provider,
    pub(crate) settings: Settings,
    pub(crate) credential: OpenCredential,
}

impl Connection {
    /// Makes a connection of a type, by its name.
    pub(crate) fn new(kind: &str, settings: &[(&str, &str)], credential: OpenCredential) -> Self {
        let pair = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Self {
            provider: keyferry_providers::find(kind).unwrap(),
            settings: settings.iter().map(pair).collect(),
            credential,
        }
    }

    /// The same connection with its credential replaced.
    pub(crate) fn with(&self, credential: OpenCredential) -> Self {
        Self { provider: self.provider, settings: self.settings.clone(), credential }
    }

    pub(crate) fn target(&self) -> Target<'_> {
        Target { settings: &self.settings, credential: &self.credential }
    }

    pub(crate) async fn verify(&self) -> Result<String, ProviderError> {
        self.provider.verify(&context(), self.target()).await
    }

    pub(crate) fn plan(&self, operation: &Operation, base: &str) -> Plan {
        self.provider.plan(self.target(), operation, base).unwrap()
    }

    pub(crate) async fn issue(
        &self,
        operation: &Operation,
        plan: &Plan,
    ) -> Result<Issued, ProviderError> {
        let lifetime = Duration::from_hours(1);
        self.provider.issue(&context(), self.target(), operation, plan, lifetime).await
    }

    pub(crate) async fn revoke(&self, plan: &Plan) -> Result<Option<Residue>, ProviderError> {
        let handle = plan.handle.as_deref().unwrap();
        self.provider.revoke(&context(), self.target(), &plan.narrowing, handle).await
    }
}

/// A user name and a password.
pub(crate) fn password(username: &str, password: &str) -> OpenCredential {
    OpenCredential {
        kind: CredentialKind::UsernamePassword,
        public: [("username".to_owned(), username.to_owned())].into(),
        secrets: [("password".to_owned(), password.into())].into(),
        files: BTreeMap::new(),
    }
}

/// A token.
pub(crate) fn token(token: &str) -> OpenCredential {
    OpenCredential {
        kind: CredentialKind::Token,
        public: [("username".to_owned(), "oauth2".to_owned())].into(),
        secrets: [("token".to_owned(), token.into())].into(),
        files: BTreeMap::new(),
    }
}

/// Git, for one repository or none.
pub(crate) fn git(repository: Option<&str>, access: Access) -> Operation {
    let repository = repository.map(|path| path.parse().unwrap());
    Operation::Git { repository, access }
}

/// Images.
pub(crate) fn registry(access: Access) -> Operation {
    Operation::Registry { repository: None, access }
}

/// User name and password of what was issued.
pub(crate) fn pair(issued: &Issued) -> (String, String) {
    match &issued.material {
        Material::Password { username, password } => (username.clone(), password.expose().clone()),
        other => panic!("{other:?}"),
    }
}
