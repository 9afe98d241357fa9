//! What tests stand on: real servers on loopback, the real binaries, and a secret that is hunted.
//!
//! Development only: no product crate depends on it outside `[dev-dependencies]`. It knows the
//! programs and their configuration, nothing of Keyferry's API; journeys (`tests/`) do. A test that
//! needs a program starts with `if !require(…) { return; }`: missing is loud, and a failure in CI.
//!
//! Everything here blocks; from async tests call it as it is (starts take 10 ms to 2 s).
//! Everything started is stopped when it is dropped, and dies with the test process in any case.

pub mod canary;
pub mod certificates;
pub mod children;
pub mod databases;
pub mod documents;
pub mod environment;
pub mod generated;
pub mod git;
pub mod http;
pub mod images;
pub mod peers;
pub mod ports;
pub mod process;
pub mod scratch;
pub mod wait;

pub use canary::Canary;
pub use certificates::{Authority, ServerCertificate};
pub use environment::{
    BINARIES_VARIABLE, cache_folder, find_program, in_continuous_integration, require, runs_as_root,
};
pub use git::Git;
pub use process::{Cli, ServerProcess};
pub use scratch::Scratch;
pub use wait::wait_until;
