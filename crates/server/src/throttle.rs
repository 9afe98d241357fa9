//! Slows down guessing: so many tries in a minute for one account from one address, and so many
//! from one address in all, then a wait.
//!
//! Behind a proxy everybody has one address; the limit by account keeps a guesser from locking out
//! the others there.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use keyferry_domain::{Error, ErrorKind, Result};

/// Tries for one account from one address in a row, and per minute after that.
const ACCOUNT_TRIES: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// Tries from one address for whatever accounts.
const ADDRESS_TRIES: NonZeroU32 = NonZeroU32::new(200).unwrap();

/// Keys that are remembered before old ones are forgotten.
const KEYS: usize = 10_000;

/// Tells how much time has passed since some moment; it never goes back.
#[derive(Clone)]
struct Elapsed(Arc<dyn Fn() -> Duration + Send + Sync>);

impl governor::clock::Clock for Elapsed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        (self.0)()
    }
}

type Limiter<K> = RateLimiter<K, DefaultKeyedStateStore<K>, Elapsed, NoOpMiddleware<Duration>>;

/// Counts tries.
pub struct Throttle {
    accounts: Limiter<(Option<IpAddr>, String)>,
    addresses: Limiter<Option<IpAddr>>,
    clock: Elapsed,
}

impl Throttle {
    /// Makes a throttle that has seen nobody yet.
    pub fn new() -> Self {
        let start = Instant::now();
        Self::with_clock(move || start.elapsed())
    }

    /// Makes one that is told how much time has passed, for tests.
    pub fn with_clock(elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let clock = Elapsed(Arc::new(elapsed));
        Self {
            accounts: limiter(ACCOUNT_TRIES, &clock),
            addresses: limiter(ADDRESS_TRIES, &clock),
            clock,
        }
    }

    /// Counts one try for an account, which is an e-mail address or what else is guessed at;
    /// refused when there were too many.
    pub fn admit(&self, address: Option<IpAddr>, account: &str) -> Result<()> {
        let account: String = account.trim().to_lowercase().chars().take(254).collect();
        self.check(&self.addresses, &address)?;
        self.check(&self.accounts, &(address, account))
    }

    fn check<K: Hash + Eq + Clone>(&self, limiter: &Limiter<K>, key: &K) -> Result<()> {
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

fn limiter<K: Hash + Eq + Clone>(tries: NonZeroU32, clock: &Elapsed) -> Limiter<K> {
    let states = DefaultKeyedStateStore::default();
    RateLimiter::new(Quota::per_minute(tries), states, clock.clone())
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const ADDRESS: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    /// Returns a throttle for which time stands still, and what lets seconds pass.
    fn still() -> (Throttle, Arc<AtomicU64>) {
        let seconds = Arc::new(AtomicU64::new(0));
        let passed = Arc::clone(&seconds);
        let elapsed = move || Duration::from_secs(passed.load(Ordering::SeqCst));
        (Throttle::with_clock(elapsed), seconds)
    }

    #[test]
    fn a_guesser_locks_nobody_else_out() {
        let (throttle, _) = still();
        for _ in 0..20 {
            throttle.admit(ADDRESS, "alice@example.com").unwrap();
        }
        let refused = throttle.admit(ADDRESS, " Alice@Example.com").unwrap_err();
        assert!(refused.details().retry_after.is_some());
        throttle.admit(ADDRESS, "bob@example.com").unwrap();
    }

    #[test]
    fn guessing_at_many_accounts_is_slowed_down_too() {
        let (throttle, _) = still();
        let tries = (0..300).filter(|n| throttle.admit(ADDRESS, &n.to_string()).is_ok()).count();
        assert_eq!(tries, 200);
    }

    #[test]
    fn who_waits_as_long_as_told_gets_one_more_try() {
        let (throttle, seconds) = still();
        let tries = || (0..30).filter(|_| throttle.admit(ADDRESS, "alice").is_ok()).count();
        assert_eq!(tries(), 20);
        let refused = throttle.admit(ADDRESS, "alice").unwrap_err();
        assert_eq!(refused.details().retry_after, Some(Duration::from_secs(3)));
        seconds.fetch_add(2, Ordering::SeqCst);
        assert_eq!(tries(), 0);
        seconds.fetch_add(1, Ordering::SeqCst);
        assert_eq!(tries(), 1);
        seconds.fetch_add(60, Ordering::SeqCst);
        assert_eq!(tries(), 20);
    }
}
