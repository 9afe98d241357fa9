//! Every operation of the HTTP API, in this process: what succeeds, and above all what is refused.
//!
//! A file per resource. What holds for all operations alike is in `routes`; that each is under a
//! policy is in `coverage`.

#![expect(clippy::unwrap_used, reason = "the fixture is test code too; a failure is the test's")]

mod audit;
mod connection_types;
mod connections;
mod coverage;
mod credentials;
mod fixture;
#[expect(dead_code, reason = "the broker's tests use more of it")]
#[path = "../../../broker/tests/broker/gitea.rs"]
mod gitea;
mod groups;
mod guides;
mod idempotency;
mod leases;
mod members;
mod organizations;
mod pipeline_members;
mod pipelines;
mod reference;
mod repositories;
mod routes;
mod runner;
mod runners;
mod runs;
mod sessions;
mod tokens;
mod workloads;
