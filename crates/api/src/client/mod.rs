//! The typed client: one method per operation of the API, a file per group of resources.
//!
//! It never retries by itself, except that [`Client::with_retries`] repeats what is safe to repeat
//! while the server is away. Secrets travel in headers and bodies only, never in addresses.

mod organization;
mod pipelines;
mod runner;
mod transport;

pub use transport::{Client, ClientError};
