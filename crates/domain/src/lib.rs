//! The nouns of Keyferry and their rules: ids, states, secrets, time, errors.
//!
//! Pure: nothing here does IO, is async, or reads the environment. Time and randomness come in
//! through [`Clock`] and [`Random`]. Start with [`connection`] and [`lease`].

pub mod actor;
pub mod audit;
pub mod clock;
pub mod connection;
pub mod credential;
pub mod error;
pub mod id;
pub mod lease;
pub mod material;
mod named;
pub mod operation;
pub mod page;
pub mod role;
pub mod run;
pub mod safe_url;
pub mod scope;
pub mod secret;
pub mod token;

pub use actor::Actor;
pub use clock::{Clock, FixedClock, Random, SystemClock, Timestamp};
pub use error::{Error, ErrorKind, FieldError, Result};
pub use named::UnknownName;
pub use role::{PipelineRole, Role};
pub use scope::Scope;
pub use secret::Secret;
