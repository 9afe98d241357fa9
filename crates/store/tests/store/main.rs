//! Every function of the store, on SQLite always and on PostgreSQL when `TEST_DATABASE_URL` names
//! a server. A file per resource, named as in `src`; `world` makes what they need.

#![expect(clippy::unwrap_used, reason = "the fixtures are test code too; a failure is the test's")]
#![expect(
    clippy::cloned_ref_to_slice_refs,
    reason = "`[x.clone()]` reads as the list it stands for"
)]

mod audit;
mod bindings;
mod connection_members;
mod connections;
mod credentials;
mod database;
mod groups;
mod idempotency_keys;
mod jobs;
mod journal;
mod leases;
mod members;
mod organizations;
mod pipelines;
mod run_logs;
mod runners;
mod runs;
mod sessions;
mod steps;
mod tokens;
mod users;
mod workloads;
mod world;
