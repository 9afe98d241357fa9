//! A small SSH client: one connection, one key, one command at a time.
//!
//! It checks the server's key against the `known_hosts` lines of the connection and never asks or
//! learns. There is no agent, no password, no forwarding and no configuration file. What is said
//! over a command's channel is the caller's business: see `crate::git`.

mod keys;
mod known_hosts;
mod leash;
mod session;

pub(crate) use keys::read_private_key;
pub(crate) use session::{Address, Execution, Heard, Session, quote};
