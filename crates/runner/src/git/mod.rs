//! Git as the job uses it and as the runner uses it: always as a process of the job, never with a
//! password in an address or on a command line.

mod access;
mod repository;

pub(crate) use access::{GitAccess, base_environment};
pub(crate) use repository::{Bare, GitError, Pushed, check_out, last_line};
