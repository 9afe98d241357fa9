//! What every connection type is and can do: its declaration, and the traits it implements.
//!
//! A provider has no global state, no store and no environment: what it needs of the world comes
//! in through [`Context`], what it needs of the connection through [`Target`]. The list of all
//! providers is in [`crate::all`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyferry_domain::credential::CredentialKind;
use keyferry_domain::lease::{Narrowing, Residue};
use keyferry_domain::material::Material;
use keyferry_domain::operation::{Operation, RepositoryPath};
use keyferry_domain::secret::{SecretBytes, SecretString};
use keyferry_domain::{Clock, Random, Timestamp};

use crate::error::ProviderError;
use crate::gate::Gate;

/// One input of a connection type or of a credential kind. The single source for API validation,
/// CLI prompts, console forms, JSON schema and reference docs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name on the wire: `base_url`.
    pub name: &'static str,
    /// Its name for people: `Base URL`.
    pub label: &'static str,
    /// What to put in, in one sentence.
    pub help: &'static str,
    /// Whether it must be given.
    pub is_required: bool,
    /// Whether it is sealed and never shown again.
    pub is_secret: bool,
    /// Whether people write several lines into it.
    pub is_multiline: bool,
    /// What holds when it is not given.
    pub default: Option<&'static str>,
    /// What the text must look like.
    pub format: Format,
}

/// What the text of a field must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Any text on one line, or on several in a multi-line field.
    Text,
    /// An `https://` or `http://` address without user name, password, query and fragment.
    HttpUrl,
    /// An address of a Git server or repository: `https://`, `http://`, `ssh://`, `user@host:path`.
    GitUrl,
    /// A host name or address with an optional port.
    Authority,
    /// The address of an image registry: host and optional port, or `https://host`, or
    /// `http://host` for one without TLS. No path: image names carry only the host.
    RegistryAddress,
    /// One or more PEM certificates.
    CertificatePem,
    /// A private key, OpenSSH, PKCS#8 or PKCS#1 PEM, without a passphrase.
    PrivateKeyPem,
    /// Lines of a `known_hosts` file.
    KnownHosts,
}

/// A kind of credential, with its fields. All kinds are listed in [`crate::credentials`].
#[derive(Debug, PartialEq, Eq)]
pub struct CredentialForm {
    /// The kind.
    pub kind: CredentialKind,
    /// Its name for people.
    pub title: &'static str,
    /// Its fields. The kind `values` has none: its names are chosen by the person.
    pub fields: &'static [Field],
}

/// What a provider can do beyond verify, issue and revoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Lists its repositories.
    ListRepositories,
    /// Lists branches, deletes a branch.
    Branches,
    /// Merges branches without a clone, by the service's own call.
    Merge,
    /// Deletes tags.
    Tags,
    /// Logs in to an image registry.
    Registry,
}

/// The declaration of a connection type.
#[derive(Debug)]
pub struct Kind {
    /// Its name on the wire: `private_docker_registry`.
    pub id: &'static str,
    /// Other spellings that are read, without regard to case: Flow's among them.
    pub aliases: &'static [&'static str],
    /// Its name for people.
    pub title: &'static str,
    /// The group it is listed in: `Code`, `Images`, `Other`.
    pub group: &'static str,
    /// What it is for, in one sentence.
    pub summary: &'static str,
    /// Its settings, none of them secret.
    pub settings: &'static [Field],
    /// The kinds of credential it takes, the usual one first.
    pub credentials: &'static [&'static CredentialForm],
    /// What it can do.
    pub capabilities: &'static [Capability],
    /// Whether there is a service that can be asked. Where there is none, nobody calls
    /// [`Provider::verify`] and the health stays unverified: unclear is not success.
    pub can_verify: bool,
}

/// Settings of a connection after validation: each field by its name, defaults filled in.
pub type Settings = BTreeMap<String, String>;

/// A credential in plain text, for the length of one call.
#[derive(Debug, Clone)]
pub struct OpenCredential {
    /// Its kind.
    pub kind: CredentialKind,
    /// Its public fields by name.
    pub public: BTreeMap<String, String>,
    /// Its secret fields by name; for `values`, the values.
    pub secrets: BTreeMap<String, SecretString>,
    /// Files by name; for `values` only.
    pub files: BTreeMap<String, SecretBytes>,
}

/// The connection that a call is about.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its settings.
    pub settings: &'a Settings,
    /// Its credential.
    pub credential: &'a OpenCredential,
}

/// What a provider may use of the world.
#[derive(Clone)]
pub struct Context {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The one way out to the network.
    pub gate: Arc<Gate>,
    /// How long one call may take in all.
    pub timeout: Duration,
}

/// What would be issued for an operation; decided without asking the service, so that the lease
/// row can be written before anything exists outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What it is cut down to.
    pub narrowing: Narrowing,
    /// How what is minted is found again, also after a crash: made of `handle_base`. Absent when
    /// nothing is minted.
    pub handle: Option<String>,
}

/// What was issued.
#[derive(Debug)]
pub struct Issued {
    /// What is handed over.
    pub material: Material,
    /// When it stops working by itself at the service.
    pub expires_at: Option<Timestamp>,
    /// What will stay alive after the lease, known already now: the stored password, a registry
    /// token that outlives its source.
    pub residue: Option<Residue>,
}

/// One connection type.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Returns the declaration.
    fn kind(&self) -> &'static Kind;

    /// Tries the credential against the service. `Ok` means that the service said yes, and gives
    /// what is worth telling: "signed in as `alice`".
    async fn verify(&self, context: &Context, target: Target<'_>) -> Result<String, ProviderError>;

    /// Decides what an operation would get. `handle_base` is unique to the lease. An operation that
    /// makes no sense here is `Misconfigured`. Does no IO.
    fn plan(
        &self,
        target: Target<'_>,
        operation: &Operation,
        handle_base: &str,
    ) -> Result<Plan, ProviderError>;

    /// Hands over what was planned; `lifetime` is how long it is wanted at most. `Rejected` says
    /// that nothing was made, so nothing is looked for and taken back then.
    async fn issue(
        &self,
        context: &Context,
        target: Target<'_>,
        operation: &Operation,
        plan: &Plan,
        lifetime: Duration,
    ) -> Result<Issued, ProviderError>;

    /// Takes back what was minted under a handle. Idempotent: nothing there is success. Returns
    /// what stays alive nevertheless.
    async fn revoke(
        &self,
        context: &Context,
        target: Target<'_>,
        narrowing: &Narrowing,
        handle: &str,
    ) -> Result<Option<Residue>, ProviderError>;

    /// Returns the repository side, where the type has one.
    fn repositories(&self) -> Option<&dyn Repositories> {
        None
    }
}

/// A repository as the service lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its path: `team/app`.
    pub path: RepositoryPath,
    /// Its description.
    pub description: Option<String>,
    /// Its default branch.
    pub default_branch: Option<String>,
    /// Whether only members see it.
    pub is_private: bool,
    /// Whether it takes no changes.
    pub is_archived: bool,
    /// Its address for `git clone`.
    pub clone_url: Option<String>,
}

/// A branch as the service lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its name: `feature/login`.
    pub name: String,
    /// The commit it points at, in hex.
    pub commit: String,
    /// Whether it is the default branch; `None` where the service does not say.
    pub is_default: Option<bool>,
    /// Whether it is protected; `None` where the service does not say.
    pub is_protected: Option<bool>,
}

/// Entries and the cursor of the next page, absent on the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePage<T> {
    /// The entries.
    pub items: Vec<T>,
    /// The service's own position of the next page.
    pub next: Option<String>,
}

/// How branches are brought together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeStrategy {
    /// A merge commit.
    Merge,
    /// Move the branch, or fail.
    FastForward,
    /// One new commit with all changes.
    Squash,
}

/// A merge to be made by the service.
#[derive(Debug, Clone)]
pub struct MergeRequest {
    /// The branch with the changes.
    pub from: String,
    /// The branch that takes them.
    pub into: String,
    /// How.
    pub strategy: MergeStrategy,
    /// The commit message; the service's own when absent.
    pub message: Option<String>,
    /// The commit that `from` must be at.
    pub expected_commit: Option<String>,
}

/// What a merge did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// The branch moved to this commit.
    Done {
        /// The new commit of `into`, in hex.
        commit: String,
    },
    /// There was nothing to merge.
    AlreadyUpToDate,
}

/// The repository side of a provider. Methods whose capability the type does not declare answer
/// [`ProviderError::Unsupported`].
#[async_trait]
pub trait Repositories: Send + Sync {
    /// Lists repositories, or those that match `search`, a page at a time.
    async fn list_repositories(
        &self,
        context: &Context,
        target: Target<'_>,
        search: Option<&str>,
        page: Option<&str>,
        limit: u32,
    ) -> Result<ServicePage<Repository>, ProviderError>;

    /// Lists branches of a repository, or those whose names contain `search`.
    async fn list_branches(
        &self,
        context: &Context,
        target: Target<'_>,
        repository: &RepositoryPath,
        search: Option<&str>,
        page: Option<&str>,
        limit: u32,
    ) -> Result<ServicePage<Branch>, ProviderError>;

    /// Merges one branch into another.
    async fn merge(
        &self,
        context: &Context,
        target: Target<'_>,
        repository: &RepositoryPath,
        request: &MergeRequest,
    ) -> Result<Merged, ProviderError>;

    /// Deletes a branch; with `expected_commit` only if it still points there, else
    /// [`ProviderError::Moved`].
    async fn delete_branch(
        &self,
        context: &Context,
        target: Target<'_>,
        repository: &RepositoryPath,
        branch: &str,
        expected_commit: Option<&str>,
    ) -> Result<(), ProviderError>;

    /// Deletes a tag.
    async fn delete_tag(
        &self,
        context: &Context,
        target: Target<'_>,
        repository: &RepositoryPath,
        tag: &str,
    ) -> Result<(), ProviderError>;
}
