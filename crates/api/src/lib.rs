//! The wire: every request and answer of the HTTP API as a type, and the typed client (feature
//! `client`) that the CLI and the runner use.
//!
//! A file per resource, named as on every other floor. Nothing here decides anything. Secrets
//! come in as [`secrets::SecretInput`] and go out as [`secrets::Disclosed`], and in no other way.

#[cfg(feature = "client")]
pub mod client;

pub mod audit;
pub mod bindings;
pub mod connection_types;
pub mod connections;
pub mod credentials;
pub mod groups;
pub mod leases;
pub mod members;
pub mod organizations;
pub mod pipeline_members;
pub mod pipelines;
pub mod problem;
pub mod repositories;
pub mod runner;
pub mod runners;
pub mod runs;
pub mod secrets;
pub mod sessions;
pub mod tokens;
pub mod workloads;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which page of a list is wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Entries at most, 1 to 200; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where the next page starts; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_cursor: Option<String>,
}
