//! Use cases over a real store, vault and policy, with a clock that stands still. Outside services
//! are stand-ins on loopback.

#![expect(clippy::unwrap_used, reason = "the fixtures are test code too; a failure is the test's")]
#![expect(
    clippy::cloned_ref_to_slice_refs,
    reason = "`[x.clone()]` reads as the list it stands for"
)]

mod at_once;
mod bindings;
mod checks;
mod connections;
mod credentials;
mod fixture;
mod gitea;
mod invitations;
mod jobs;
mod lease_ends;
mod leases;
mod lost_claims;
mod one_commit;
mod pipelines;
mod runs;
mod scenes;
mod two_servers;
mod unreadable;
