//! One binary for all journeys, so that they link once; a file per story.
//!
//! `peers/` proves the servers that the stories stand on, so that a broken peer is not taken for a
//! broken product. `world/` is what every story starts from.

mod examples;
mod exec;
mod first_start;
mod generic;
mod git_https;
mod git_ssh;
mod gitea;
mod gitea_library;
mod hung_up;
mod isolation;
mod lost_runners;
mod peers;
mod postgres;
mod refusals;
mod registry;
mod story;
mod tls;
mod world;
