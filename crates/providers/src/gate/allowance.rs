//! What the operator opens: networks by CIDR, and hosts by name.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// One opening for private addresses. It never opens link-local, metadata, multicast and
/// unspecified addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowance {
    /// Every address of a network: `10.20.0.0/16`, or one address.
    Network(IpNet),
    /// Whatever private address this name stands for: `git.internal`. In lower case.
    Host(String),
}

/// The text is neither a network nor a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "read `{text}` as an allowed address; write it like 10.20.0.0/16, 10.20.0.5 or git.internal"
)]
pub struct InvalidAllowance {
    text: String,
}

impl FromStr for Allowance {
    type Err = InvalidAllowance;

    fn from_str(text: &str) -> Result<Self, InvalidAllowance> {
        let trimmed = text.trim();
        let unbracketed =
            trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(trimmed);
        if let Ok(network) = unbracketed.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        if let Ok(address) = unbracketed.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        match url::Host::parse(trimmed) {
            // An odd spelling of an address, such as `0x7f.1`, is a mistake rather than a host.
            Ok(url::Host::Domain(name)) if !trimmed.contains(['/', ':', '*']) => {
                Ok(Self::Host(normal_host(&name)))
            }
            _ => Err(InvalidAllowance { text: text.chars().take(80).collect() }),
        }
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => write!(formatter, "{network}"),
            Self::Host(host) => formatter.write_str(host),
        }
    }
}

impl Allowance {
    /// Tells whether this opens `address` when reached by the name `host`.
    pub(super) fn covers(&self, host: &str, address: IpAddr) -> bool {
        match self {
            Self::Network(network) => network.contains(&address),
            Self::Host(name) => *name == normal_host(host),
        }
    }
}

/// Returns a host name as it is compared: lower case, without the root's dot.
fn normal_host(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_addresses_and_hosts_are_read() {
        for (text, shown) in [
            ("10.20.0.7/16", "10.20.0.0/16"),
            ("10.20.0.5", "10.20.0.5/32"),
            ("[::1]", "::1/128"),
            ("fd00::/8", "fd00::/8"),
            (" Git.Internal. ", "git.internal"),
        ] {
            assert_eq!(text.parse::<Allowance>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "10.0.0.0/33", "http://git.internal", "git.internal:22", "*", "0x7f.1", "a b"]
        {
            assert!(text.parse::<Allowance>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_host_covers_its_own_name_only() {
        let allowance: Allowance = "git.internal".parse().unwrap();
        let address = "10.0.0.1".parse().unwrap();
        assert!(allowance.covers("GIT.internal.", address));
        assert!(!allowance.covers("x.git.internal", address));
        assert!(!allowance.covers("git.internal.evil.example", address));
    }
}
