//! Every operation of the HTTP API, in this process: what succeeds, and above all what is refused.
//!
//! A file per resource. What holds for all operations alike is in `routes`; that each is under a
//! policy is in `coverage`.

mod fixture;
mod members;
mod organizations;
mod reference;
