//! Which addresses connections may reach.

use anyhow::Result;
use clap::Args;
use serde::{Deserialize, Serialize};

/// The section as typed.
#[derive(Default, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct OutboundArgs {
    /// Private addresses that connections may reach: networks (10.0.0.0/8), addresses or host
    /// names, separated by commas. Public addresses need no entry; link-local ones are never
    /// reached.
    #[arg(
        long = "allow-address",
        env = "KEYFERRY_ALLOW_ADDRESSES",
        value_name = "NETWORK|HOST",
        value_delimiter = ',',
        global = true
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow_addresses: Vec<String>,
}

/// The section as it holds.
#[derive(Debug, Clone)]
pub struct OutboundSettings {
    /// Networks, addresses and host names; read by the broker.
    pub allow_addresses: Vec<String>,
}

impl OutboundArgs {
    #[expect(clippy::unnecessary_wraps, reason = "every section can refuse")]
    pub(super) fn resolve(self) -> Result<OutboundSettings> {
        Ok(OutboundSettings { allow_addresses: self.allow_addresses })
    }
}
