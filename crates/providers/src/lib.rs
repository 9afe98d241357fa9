//! Outside services: what each connection type declares, verifies, issues and takes back.
//!
//! One folder per connection type, one list of all in [`all`]. The contract is in [`provider`],
//! the one way out to the network in [`gate`]. Nothing here knows our store, API or policy, and
//! nothing here starts a process.

pub mod all;
pub mod credentials;
mod error;
pub mod gate;
mod generic;
mod git;
mod gitea;
mod http;
mod private_docker_registry;
pub mod provider;
pub mod reference;
mod ssh;
pub mod validate;

pub use all::{ALL, find};
pub use error::ProviderError;
pub use gate::{Allowance, Gate, GateError, GateSettings, Limits};
pub use provider::{Context, OpenCredential, Provider, Target};
