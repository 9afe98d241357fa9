//! The gate itself: checks hosts and addresses, resolves names, connects, and keeps HTTP clients.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::TcpStream;
use url::Host;

use super::address::{Verdict, canonical, judge};
use super::{Allowance, GateError};
use crate::error::ProviderError;

/// Clients kept for as many different CA certificates; beyond that all are made anew.
const MAX_CLIENTS: usize = 64;

/// Addresses tried per name. A hostile name server may return thousands.
const MAX_ADDRESSES: usize = 16;

/// What the operator allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateSettings {
    /// Networks and hosts that may have private addresses (`--allow-address`).
    pub allowed: Vec<Allowance>,
}

/// How much an outside service may take of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long one connection may take to come about.
    pub connect_timeout: Duration,
    /// How many bytes of an answer are read, unless a caller asks for another limit.
    pub body_bytes: usize,
    /// How many redirects are followed, on one host.
    pub redirects: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(10), body_bytes: 4 << 20, redirects: 3 }
    }
}

/// The one way out to the network.
pub struct Gate {
    rules: Arc<Rules>,
    limits: Limits,
    clients: Mutex<HashMap<Option<String>, reqwest::Client>>,
}

#[derive(Debug)]
struct Rules {
    allowed: Vec<Allowance>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Gate")
            .field("rules", &self.rules)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// Makes a gate.
    pub fn new(settings: GateSettings, limits: Limits) -> Self {
        Self {
            rules: Arc::new(Rules { allowed: settings.allowed }),
            limits,
            clients: Mutex::default(),
        }
    }

    /// Returns the limits.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Checks what can be checked of a host without asking a name server: addresses in any
    /// spelling. Names are checked when they are resolved.
    pub fn check_host(&self, host: &str) -> Result<(), GateError> {
        match parse_host(host)? {
            Host::Ipv4(address) => self.rules.check(host, address.into()),
            Host::Ipv6(address) => self.rules.check(host, address.into()),
            Host::Domain(_) => Ok(()),
        }
    }

    /// Connects to a port of a host, by the first allowed address that answers.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, GateError> {
        let addresses = match parse_host(host)? {
            Host::Ipv4(address) => {
                self.rules.check(host, address.into())?;
                vec![IpAddr::from(address)]
            }
            Host::Ipv6(address) => {
                self.rules.check(host, address.into())?;
                vec![IpAddr::from(address)]
            }
            Host::Domain(name) => self.rules.resolve(&name).await?,
        };
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            let attempt = TcpStream::connect(SocketAddr::new(address, port));
            match tokio::time::timeout(self.limits.connect_timeout, attempt).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(GateError::Unreachable { host: host.to_owned(), port, source: last })
    }

    /// Returns the HTTP client that trusts these CA certificates (PEM) instead of the system's.
    ///
    /// The client follows no redirect and uses no proxy. It does not check addresses in a URL's
    /// text: only [`crate::http`] may use it, which calls [`Self::check_host`] first.
    pub(crate) fn client(&self, ca: Option<&str>) -> Result<reqwest::Client, ProviderError> {
        let key = ca.map(str::to_owned);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.build_client(ca)?;
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the gate that everyone else must pass")]
    fn build_client(&self, ca: Option<&str>) -> Result<reqwest::Client, ProviderError> {
        let wrong_ca = |reason: &str| ProviderError::Misconfigured {
            field: "ca_certificate".to_owned(),
            reason: reason.to_owned(),
        };
        let mut builder = reqwest::Client::builder()
            .dns_resolver(CheckedResolver(Arc::clone(&self.rules)))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(self.limits.connect_timeout)
            .pool_max_idle_per_host(4)
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("keyferry/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = ca {
            let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
                .map_err(|_| wrong_ca("it is not a PEM certificate"))?;
            if certificates.is_empty() {
                return Err(wrong_ca("there is no certificate in it"));
            }
            builder = builder.tls_certs_only(certificates);
        }
        builder.build().map_err(|_| {
            if ca.is_some() {
                wrong_ca("its certificates cannot be used")
            } else {
                ProviderError::Unavailable {
                    reason: "this machine has no certificates to trust; install `ca-certificates`"
                        .to_owned(),
                }
            }
        })
    }
}

impl Rules {
    fn check(&self, host: &str, address: IpAddr) -> Result<(), GateError> {
        match judge(address) {
            Verdict::Public => Ok(()),
            Verdict::Private(what) => {
                let address = canonical(address);
                if self.allowed.iter().any(|allowance| allowance.covers(host, address)) {
                    Ok(())
                } else {
                    Err(GateError::NotAllowed { host: host.to_owned(), address, what })
                }
            }
            Verdict::Forbidden(what) => {
                Err(GateError::Forbidden { host: host.to_owned(), address, what })
            }
        }
    }

    /// Resolves a name and returns the allowed ones of its addresses. These very addresses are
    /// then connected to, so a name server that answers differently later gains nothing.
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, GateError> {
        let unresolvable = |source| GateError::Unresolvable { host: name.to_owned(), source };
        let found = tokio::net::lookup_host((name, 0)).await.map_err(unresolvable)?;
        let mut allowed = Vec::new();
        let mut refusal = None;
        for address in found.map(|found| found.ip()).take(MAX_ADDRESSES) {
            match self.check(name, address) {
                Ok(()) => allowed.push(address),
                Err(error) => refusal = Some(error),
            }
        }
        match refusal {
            Some(refusal) if allowed.is_empty() => Err(refusal),
            None if allowed.is_empty() => Err(unresolvable(io::ErrorKind::NotFound.into())),
            _ => Ok(allowed),
        }
    }
}

/// Reads a host in any spelling that a URL would take, so that `0x7f.1` is seen for what it is.
fn parse_host(host: &str) -> Result<Host, GateError> {
    if let Ok(address) = host.parse::<std::net::Ipv6Addr>() {
        return Ok(Host::Ipv6(address));
    }
    Host::parse(host).map_err(|_| GateError::NotAHost { host: host.chars().take(255).collect() })
}

/// Name resolution for HTTP clients.
struct CheckedResolver(Arc<Rules>);

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses = rules.resolve(name.as_str()).await?;
            // Port 0 stands for "the port of the URL".
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(allowed: &[&str]) -> Gate {
        let allowed = allowed.iter().map(|text| text.parse().unwrap()).collect();
        Gate::new(GateSettings { allowed }, Limits::default())
    }

    #[test]
    fn every_spelling_of_loopback_is_refused() {
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "[::ffff:127.0.0.1]",
            "::ffff:127.0.0.1",
            "[::1]",
            "::1",
            "[::ffff:7f00:1]",
            "[64:ff9b::127.0.0.1]",
        ] {
            let error = gate(&[]).check_host(host).unwrap_err();
            assert!(matches!(error, GateError::NotAllowed { .. }), "{host}: {error}");
            assert!(error.to_string().contains("--allow-address"), "{error}");
            assert!(error.to_string().contains("KEYFERRY_ALLOW_ADDRESSES"), "{error}");
        }
    }

    #[test]
    fn an_allowance_does_not_open_metadata_addresses() {
        let gate = gate(&["0.0.0.0/0", "::/0"]);
        for host in ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"]
        {
            let error = gate.check_host(host).unwrap_err();
            assert!(matches!(error, GateError::Forbidden { .. }), "{host}: {error}");
            assert!(!error.to_string().contains("--allow-address"), "{error}");
        }
        assert!(gate.check_host("10.0.0.1").is_ok());
    }

    #[test]
    fn an_allowed_network_opens_itself_only() {
        let gate = gate(&["127.0.0.0/8"]);
        assert!(gate.check_host("0x7f.1").is_ok());
        assert!(gate.check_host("[::ffff:127.0.0.1]").is_ok());
        assert!(gate.check_host("[::1]").is_err());
        assert!(gate.check_host("10.0.0.1").is_err());
    }

    #[tokio::test]
    async fn a_name_for_loopback_is_refused_when_it_is_resolved() {
        let error = gate(&[]).connect("localhost", 1).await.unwrap_err();
        assert!(matches!(error, GateError::NotAllowed { .. }), "{error}");
        assert!(gate(&["localhost"]).rules.resolve("localhost").await.is_ok());
    }

    #[tokio::test]
    async fn raw_connections_reach_what_is_allowed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(gate(&["127.0.0.1"]).connect("127.0.0.1", port).await.is_ok());
        assert!(gate(&[]).connect("127.0.0.1", port).await.is_err());
        drop(listener);
        let error = gate(&["127.0.0.1"]).connect("127.0.0.1", port).await.unwrap_err();
        assert!(matches!(error, GateError::Unreachable { .. }), "{error}");
    }

    #[test]
    fn texts_that_are_no_host_are_refused() {
        for host in ["", "a b", "a/b", "http://x", "x:22", "a\0b"] {
            assert!(gate(&[]).check_host(host).is_err(), "{host:?}");
        }
    }

    #[test]
    fn a_ca_that_is_none_is_the_persons_mistake() {
        for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = gate(&[]).client(Some(pem)).unwrap_err();
            assert!(
                matches!(&error, ProviderError::Misconfigured { field, .. } if field == "ca_certificate"),
                "{error}"
            );
        }
    }
}
