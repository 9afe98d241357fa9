//! Connection types against real servers, and against stand-ins that misbehave.

mod gitea_leases;
mod gitea_repositories;
mod world;
