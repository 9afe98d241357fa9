//! The peers by themselves: each does what the stories rely on, and refuses what it must.

mod forge;
mod git_servers;
mod image_registry;
mod postgres;
