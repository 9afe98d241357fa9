//! How often connections are tried again.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

/// Rare enough for any service, and a revoked credential is known within a working day.
const DEFAULT_MINUTES: u32 = 6 * 60;

/// More often would be a burden on the services.
const LEAST_MINUTES: u32 = 5;

/// The section as typed.
#[derive(Default, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CheckArgs {
    /// How often each connection is tried at its service, in minutes; 0 is never. Unreachable
    /// services are tried sooner, refused credentials once a day at the most [default: 360].
    #[arg(long, env = "KEYFERRY_CHECK_INTERVAL_MINUTES", value_name = "MINUTES", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    check_interval_minutes: Option<u32>,
}

/// The section as it holds.
#[derive(Debug, Clone)]
pub struct CheckSettings {
    /// How often; never when absent.
    pub interval: Option<Duration>,
}

impl CheckArgs {
    pub(super) fn resolve(self) -> Result<CheckSettings> {
        let interval = match self.check_interval_minutes.unwrap_or(DEFAULT_MINUTES) {
            0 => None,
            minutes if minutes < LEAST_MINUTES => bail!(
                "read --check-interval-minutes: {minutes} is too often; give {LEAST_MINUTES} or \
                 more, or 0 for never"
            ),
            minutes => Some(Duration::from_mins(minutes.into())),
        };
        Ok(CheckSettings { interval })
    }
}
