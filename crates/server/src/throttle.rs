//! Slows down guessing: so many failed tries per address in a minute, then a wait.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use keyferry_domain::{Error, ErrorKind, Result};

/// Tries of one address in a row before it has to wait, and tries per minute after that.
const TRIES_PER_MINUTE: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// Counts tries by address.
pub struct Throttle {
    limiter: DefaultKeyedRateLimiter<Option<IpAddr>>,
    clock: DefaultClock,
}

impl Throttle {
    /// Makes a throttle that has seen nobody yet.
    pub fn new() -> Self {
        let quota = Quota::per_minute(TRIES_PER_MINUTE);
        Self { limiter: RateLimiter::keyed(quota), clock: DefaultClock::default() }
    }

    /// Counts one try; refused when there were too many.
    pub fn admit(&self, address: Option<IpAddr>) -> Result<()> {
        self.limiter.check_key(&address).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            Error::new(
                ErrorKind::RateLimited,
                "too_many_tries",
                "there were too many tries from this address",
            )
            .retry_after(wait)
            .hint("wait a minute, then try again")
        })?;
        if self.limiter.len() > 10_000 {
            self.limiter.retain_recent();
        }
        Ok(())
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}
