//! What is kept: one SQL text for SQLite and PostgreSQL, and the only place where SQL is.
//!
//! A file per resource, each with its record (a plain struct, one row) and functions. Every
//! function takes where it works first (`&store`, or `&mut change` within a transaction) and
//! then the organization, by which it filters; the few that sweep over all organizations or
//! authenticate a caller say so. Changes are compare-and-set on `version`: they return the new
//! one, or [`StoreError::Stale`]. The store decides nothing and never sees an open secret.
//!
//! Start with `connections.rs`; [`journal`] is the hot path.

pub mod audit;
pub mod bindings;
mod checkpoint;
pub mod connection_members;
pub mod connections;
pub mod credentials;
mod database;
mod error;
pub mod groups;
pub mod idempotency_keys;
pub mod jobs;
pub mod journal;
pub mod leases;
pub mod members;
mod migrate;
pub mod organizations;
pub mod pipelines;
mod record;
mod row;
pub mod run_logs;
pub mod runners;
pub mod runs;
pub mod sessions;
pub mod steps;
pub mod tokens;
pub mod users;
pub mod workloads;

pub use database::{Change, On, Store, StoreOptions};
pub use error::{Result, StoreError};
pub use journal::Journal;
pub use record::fold;
