//! The server: HTTP API, background loops, settings and admin commands of `keyferry-server`.
//!
//! Decides nothing itself: handlers call `broker`. Start with [`http`] for the list of routes, or
//! with [`commands`] for what the program can do.

pub mod commands;
pub mod http;
mod listener;
mod loops;
pub mod settings;
pub mod throttle;
