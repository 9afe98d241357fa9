//! The type `git` and the gate against real servers, and against servers that misbehave.
//!
//! Real Git servers come from `testkit`; a missing program is a loud skip, and a failure in CI.
//! Rules that need no server are tested beside the code.

mod git_over_http;
mod git_over_ssh;
mod hostile_servers;
mod redirects;
mod rsa_over_ssh;
mod stand_in;
mod world;
