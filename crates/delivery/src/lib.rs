//! What tools ask and what they get: one file per protocol, text in, text out.
//!
//! Pure: nothing here reads a file, a variable or a socket. A helper reads its tool's question
//! ([`git`], [`docker`]), carries it over the job socket ([`socket`]), and renders the answer in
//! the tool's words. [`ssh`], [`service_binding`] and [`environment`] are the forms for tools that
//! have no helper. Which connection answers for an address is decided in [`address`].

pub mod address;
pub mod docker;
pub mod environment;
pub mod git;
pub mod reply;
pub mod service_binding;
pub mod socket;
pub mod ssh;

pub use reply::Reply;
