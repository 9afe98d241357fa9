//! Named values and files without a service behind them: encryption keys, configuration, a
//! database's address and password.
//!
//! Nobody can be asked whether they are right, so the health of such a connection stays
//! unverified, and all of a lease is residue. How a job receives them (files, a Service Binding
//! directory, environment variables) is decided in `delivery` and `runner`.

mod provider;

pub(crate) use provider::GENERIC;
