//! Requests to outside services, and what their answers mean. All providers speak HTTP through
//! this.
//!
//! [`Http`] belongs to one provider call: its deadline runs from when it is made. `Request`
//! builds and sends; [`Answer`] holds status, headers and a capped body, and sorts refusals into
//! [`crate::ProviderError`]. What may be connected to is decided in [`crate::gate`].

mod answer;
pub(crate) mod clean;
mod request;

pub(crate) use answer::Answer;
pub(crate) use clean::clean;
pub(crate) use request::Http;
