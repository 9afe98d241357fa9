//! Use cases over a real store, vault and policy, with a clock that stands still. Outside services
//! are stand-ins on loopback.

mod bindings;
mod connections;
mod credentials;
mod fixture;
mod gitea;
mod jobs;
mod lease_ends;
mod leases;
mod pipelines;
mod runs;
mod scenes;
