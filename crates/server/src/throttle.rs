//! Slows down guessing: so many tries in a minute for one account from one address, and so many
//! from one address in all, then a wait.
//!
//! Behind a proxy everybody has one address; the limit by account keeps a guesser from locking out
//! the others there.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use keyferry_domain::{Error, ErrorKind, Result};

/// Tries for one account from one address in a row, and per minute after that.
const ACCOUNT_TRIES: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// Tries from one address for whatever accounts.
const ADDRESS_TRIES: NonZeroU32 = NonZeroU32::new(200).unwrap();

/// Keys that are remembered before old ones are forgotten.
const KEYS: usize = 10_000;

/// Counts tries.
pub struct Throttle {
    accounts: DefaultKeyedRateLimiter<(Option<IpAddr>, String)>,
    addresses: DefaultKeyedRateLimiter<Option<IpAddr>>,
    clock: DefaultClock,
}

impl Throttle {
    /// Makes a throttle that has seen nobody yet.
    pub fn new() -> Self {
        Self {
            accounts: RateLimiter::keyed(Quota::per_minute(ACCOUNT_TRIES)),
            addresses: RateLimiter::keyed(Quota::per_minute(ADDRESS_TRIES)),
            clock: DefaultClock::default(),
        }
    }

    /// Counts one try for an account, which is an e-mail address or what else is guessed at;
    /// refused when there were too many.
    pub fn admit(&self, address: Option<IpAddr>, account: &str) -> Result<()> {
        let account: String = account.trim().to_lowercase().chars().take(254).collect();
        self.check(&self.addresses, &address)?;
        self.check(&self.accounts, &(address, account))
    }

    fn check<K: Hash + Eq + Clone>(
        &self,
        limiter: &DefaultKeyedRateLimiter<K>,
        key: &K,
    ) -> Result<()> {
        if limiter.len() > KEYS {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            Error::new(
                ErrorKind::RateLimited,
                "too_many_tries",
                "there were too many tries from this address",
            )
            .retry_after(wait)
            .hint("wait a minute, then try again")
        })
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    #[test]
    fn a_guesser_locks_nobody_else_out() {
        let throttle = Throttle::new();
        for _ in 0..20 {
            throttle.admit(ADDRESS, "alice@example.com").unwrap();
        }
        let refused = throttle.admit(ADDRESS, " Alice@Example.com").unwrap_err();
        assert!(refused.details().retry_after.is_some());
        throttle.admit(ADDRESS, "bob@example.com").unwrap();
    }

    #[test]
    fn guessing_at_many_accounts_is_slowed_down_too() {
        let throttle = Throttle::new();
        let tries = (0..300).filter(|n| throttle.admit(ADDRESS, &n.to_string()).is_ok()).count();
        assert_eq!(tries, 200);
    }
}
