//! Connection types, as their providers declare them.

use keyferry_domain::{Actor, Error, Result};
pub use keyferry_providers::provider::{Capability, CredentialForm, Field, Format, Kind};

use crate::Broker;

impl Broker {
    /// Lists every connection type with its fields. Everyone who is signed in may see them.
    pub fn list_connection_types(&self, actor: &Actor) -> Result<Vec<&'static Kind>> {
        if actor.user().is_none() {
            return Err(Error::denied("not_a_person", "only people look through connection types"));
        }
        Ok(keyferry_providers::ALL.iter().map(|provider| provider.kind()).collect())
    }
}
