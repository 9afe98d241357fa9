//! Image registries that speak the
//! [OCI distribution protocol](https://github.com/opencontainers/distribution-spec): Docker's own,
//! Harbor, Nexus, Quay, Docker Hub.
//!
//! A lease hands over the stored user name and password and says so as residue: Docker's helper
//! protocol has no place for a registry's own short-lived tokens, and does not tell the image
//! either (see `delivery`). Verifying signs in the way `docker login` does (`client`), by Basic or
//! at the token server that the registry names (`challenge`).

mod challenge;
mod client;
mod provider;

pub(crate) use provider::PRIVATE_DOCKER_REGISTRY;
