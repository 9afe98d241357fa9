//! The use cases: what Keyferry does, one file or folder per resource.
//!
//! The only crate that sees policy, vault, store and providers together. Every method takes the
//! [`Actor`] first, is allowed or refused before its first decrypt, mint
//! or write, and leaves exactly one audit event that is durable before it returns. What it changes
//! is committed together with that event, in `audit`. It knows nothing of HTTP.
//!
//! Read `leases/` first: it is the product in one folder.

mod access;
pub mod audit;
mod authentication;
pub mod bindings;
pub mod connection_types;
pub mod connections;
pub mod credentials;
mod failure;
pub mod groups;
pub mod idempotency_keys;
pub mod jobs;
pub mod leases;
pub mod members;
mod names;
mod open;
mod opened;
pub mod organizations;
pub mod pipelines;
pub mod repositories;
pub mod runners;
pub mod runs;
pub mod sessions;
mod sweep;
pub mod tokens;
pub mod workloads;

use std::sync::Arc;
use std::time::Duration;

use keyferry_domain::id::RequestId;
use keyferry_domain::{Actor, Clock, Random, Result};
use keyferry_policy::Policy;
use keyferry_store::{Journal, Store};
use keyferry_vault::Vault;

pub use self::open::{BrokerOptions, RootKeySource};

/// The use cases over one database.
pub struct Broker {
    store: Store,
    journal: Journal,
    vault: Vault,
    policy: Policy,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    outside: keyferry_providers::Context,
    leases: leases::Cache,
    jobs: jobs::Doorbell,
    reports: jobs::Reports,
    check_interval: Option<Duration>,
}

impl Broker {
    /// Makes an id for a request.
    pub fn new_request_id(&self) -> RequestId {
        RequestId::generate(&*self.clock, &*self.random)
    }

    /// Keyferry itself as the actor of a request of its own.
    pub fn system_actor(&self) -> Actor {
        Actor::system(self.new_request_id())
    }

    /// Tells whether requests can be served: the database answers.
    pub async fn check_ready(&self) -> Result<()> {
        self.store.ping().await.map_err(failure::store_failed)
    }
}
