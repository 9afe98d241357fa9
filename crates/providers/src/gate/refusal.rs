//! Why the gate did not open, and who can change that.

use std::net::IpAddr;

use crate::error::ProviderError;

/// The gate did not open. Names the setting that would allow it, where there is one.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A private address that the operator has not allowed.
    #[error(
        "`{host}` is {what} ({address}); whoever runs this server can allow it with \
         `--allow-address {address}` or KEYFERRY_ALLOW_ADDRESSES"
    )]
    NotAllowed {
        /// The host as given.
        host: String,
        /// The address it stands for.
        address: IpAddr,
        /// What kind of address that is.
        what: &'static str,
    },
    /// An address that no setting opens.
    #[error("`{host}` is {what} ({address}), which is refused always")]
    Forbidden {
        /// The host as given.
        host: String,
        /// The address it stands for.
        address: IpAddr,
        /// What kind of address that is.
        what: &'static str,
    },
    /// Not a host name.
    #[error("`{host}` is not a host name")]
    NotAHost {
        /// The host as given.
        host: String,
    },
    /// The name stands for no address.
    #[error("`{host}` has no address")]
    Unresolvable {
        /// The host as given.
        host: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// No address of the host took the connection.
    #[error("`{host}` port {port} does not take connections")]
    Unreachable {
        /// The host as given.
        host: String,
        /// The port.
        port: u16,
        /// What the last try said.
        #[source]
        source: std::io::Error,
    },
}

impl GateError {
    /// Returns the provider's error; `field` is the setting that holds the address.
    pub(crate) fn to_provider_error(&self, field: &str) -> ProviderError {
        match self {
            Self::NotAllowed { .. } | Self::Forbidden { .. } | Self::NotAHost { .. } => {
                ProviderError::Misconfigured { field: field.to_owned(), reason: self.to_string() }
            }
            Self::Unresolvable { .. } => ProviderError::Unavailable { reason: self.to_string() },
            Self::Unreachable { source, .. } => {
                ProviderError::Unavailable { reason: format!("{self}: {}", source.kind()) }
            }
        }
    }
}
