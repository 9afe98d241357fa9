//! The runner against a stand-in for the server, with real processes, Git and bubblewrap.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure here fails the test")]

mod access;
mod apart;
mod exec;
mod forge;
mod git;
mod killed;
mod life;
mod server;
mod trust;
