//! Connection types, as their providers declare them: what the forms are drawn from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A connection type.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConnectionTypeView {
    /// Its name on the wire.
    pub id: String,
    /// Other spellings that are read.
    pub aliases: Vec<String>,
    /// Its name for people.
    pub title: String,
    /// The group it is listed in.
    pub group: String,
    /// What it is for.
    pub summary: String,
    /// Settings of a connection.
    pub settings: Vec<FieldView>,
    /// The kinds of credential it takes, the usual one first.
    pub credentials: Vec<CredentialFormView>,
    /// What it can do: `list_repositories`, `branches`, `merge`, `tags`, `registry`.
    pub capabilities: Vec<String>,
    /// Whether the credential can be tried against a service.
    pub can_verify: bool,
}

/// A kind of credential with its fields.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CredentialFormView {
    /// Its name on the wire.
    pub kind: String,
    /// Its name for people.
    pub title: String,
    /// Its fields; `values` has none, its names are chosen freely.
    pub fields: Vec<FieldView>,
}

/// One input.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FieldView {
    /// Its name on the wire.
    pub name: String,
    /// Its name for people.
    pub label: String,
    /// What to put in.
    pub help: String,
    /// Whether it must be given.
    pub required: bool,
    /// Whether it is sealed and never shown again.
    pub secret: bool,
    /// Whether people write several lines into it.
    pub multiline: bool,
    /// What holds when it is not given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub default: Option<String>,
    /// What the text must look like: `text`, `http_url`, `git_url`, `authority`,
    /// `certificate_pem`, `private_key_pem`, `known_hosts`.
    pub format: String,
}
