//! [Gitea](https://docs.gitea.com/api/1.26/): a forge with repositories, branches and merges by
//! its API, Git over HTTP and SSH, and an image registry on the same address.
//!
//! What a lease gets is the narrowest thing that Gitea can make for the operation:
//! * from a user name and password, a token with only the scopes that the operation needs
//!   (`tokens`), deleted when the lease ends;
//! * from a stored token, a deploy key for the one repository (`deploy_keys`), where the
//!   connection knows the host keys of Gitea's SSH server, else the stored token itself.
//!
//! Start with `provider`, which decides which of them. `client` speaks HTTP and reads Gitea's
//! refusals; `repositories` and `merge` are the repository side. A deletion with a condition goes by
//! the Git protocol (`crate::git`), since the API has none.
//!
//! Traits of Gitea 1.26 that shaped this folder, all tried on a real one: personal tokens have no
//! expiry and no repository; the token that the image registry makes of a credential lives for 24
//! hours, also when that credential has been deleted; 405 on a merge means "still computing" as
//! well as "conflict"; a page holds 50 entries at most, whatever is asked for.

mod client;
mod cursor;
mod deploy_keys;
mod handle;
mod merge;
mod provider;
mod repositories;
mod tokens;

#[cfg(test)]
mod tests;

pub(crate) use provider::GITEA;
