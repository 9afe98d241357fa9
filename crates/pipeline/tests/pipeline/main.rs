//! What the room promises to others: files of Flow are read, mistakes are explained, approvals cover
//! what they should. One binary; a file per promise.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test by panicking")]

mod accepted;
mod connections;
mod fingerprints;
mod plans;
mod refused;
