//! The connection type `git`: any Git server, over HTTP or SSH, by the Git protocol itself.
//!
//! Documents: gitprotocol-v2(5), gitprotocol-pack(5), gitprotocol-http(5), gitprotocol-common(5).
//! Branches are listed by `ls-refs` and deleted by `receive-pack` without a clone. Git has no way
//! to list repositories, and merges are the runner's work. Read `provider` first, then `remote`.

mod address;
mod branches;
mod packet;
mod provider;
mod receive;
mod refs;
mod remote;

pub(crate) use provider::GIT;
