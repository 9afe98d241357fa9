//! The job socket: where the helpers in a job ask for access.
//!
//! `desk.rs` answers a question from the connections of the job; `listener.rs` lets only the job's
//! own processes ask. The protocol's text is in `keyferry_delivery::socket`.

mod desk;
mod listener;

pub(crate) use desk::{Connection, Desk, has_images, refusal_line, registry_names};
pub(crate) use listener::Listener;

/// The variable that tells helpers where the socket is.
pub const SOCKET_VARIABLE: &str = "KEYFERRY_SOCKET";
