//! Where the server listens, and how it is reached.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

/// The section as typed.
#[derive(Default, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ListenArgs {
    /// Address to listen on [default: 127.0.0.1:7420].
    #[arg(long, env = "KEYFERRY_LISTEN", value_name = "ADDRESS:PORT", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,

    /// Certificate chain in PEM; read again when it changes.
    #[arg(long, env = "KEYFERRY_TLS_CERTIFICATE_FILE", value_name = "FILE", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_certificate_file: Option<PathBuf>,

    /// Private key of the certificate in PEM.
    #[arg(long, env = "KEYFERRY_TLS_KEY_FILE", value_name = "FILE", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_key_file: Option<PathBuf>,

    /// A proxy in front of this server does TLS, so other addresses than loopback may be served
    /// without it.
    #[arg(long, env = "KEYFERRY_BEHIND_PROXY", global = true)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    behind_proxy: bool,

    /// Address under which people reach the server, for the links it prints.
    #[arg(long, env = "KEYFERRY_PUBLIC_URL", value_name = "URL", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    public_url: Option<String>,
}

/// The section as it holds.
#[derive(Debug, Clone)]
pub struct ListenSettings {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Certificate and key; absent without TLS.
    pub tls: Option<TlsFiles>,
    /// Address for links; made of the listening address when absent.
    pub public_url: Option<String>,
}

/// Certificate and key in PEM.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the type says it")]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl ListenArgs {
    pub(super) fn resolve(self) -> Result<ListenSettings> {
        let text = self.listen.as_deref().unwrap_or("127.0.0.1:7420");
        let address: SocketAddr = text
            .parse()
            .with_context(|| format!("read --listen `{text}`; write it like 127.0.0.1:7420"))?;
        let tls = match (self.tls_certificate_file, self.tls_key_file) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            _ => bail!("use TLS with a certificate or a key only; give both files"),
        };
        if tls.is_none() && !self.behind_proxy && !address.ip().is_loopback() {
            bail!(
                "listen on {address} without TLS; give --tls-certificate-file and --tls-key-file, \
                 or --behind-proxy when a proxy does TLS"
            );
        }
        Ok(ListenSettings { address, tls, public_url: self.public_url })
    }
}
