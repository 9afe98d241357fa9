//! What somebody sees who opens the server, or a one-time link of it, in a browser.
//!
//! The secret of a link is behind its `#`, which browsers keep to themselves.

/// Says what this is, and where to go on.
pub(super) async fn root() -> String {
    format!(
        "Keyferry {} answers here.\n\n\
         Programs find the API described at /api/openapi.json.\n\
         People use the command line: `keyferry login`, then `keyferry --help`.\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Says how the link of a server's first start is used.
pub(super) async fn setup() -> &'static str {
    "This link creates the first owner of this Keyferry server, once.\n\n\
     Run `keyferry setup` on your machine and paste the whole link when it asks for it.\n"
}
