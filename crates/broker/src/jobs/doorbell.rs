//! Wakes those who wait for work, so that nobody has to ask the database in a loop.
//!
//! It rings within this process only. Whoever waits also looks again after a while, since another
//! server may have changed what they wait for.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How long nobody waits without looking again: what another server does is noticed by then.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Three bells: work for runners, news in logs, leases to take back.
pub(crate) struct Doorbell {
    jobs: watch::Sender<u64>,
    logs: watch::Sender<u64>,
    leases: watch::Sender<u64>,
}

/// A waiter's place: it hears every ring after it was made.
pub(crate) struct Waiter(watch::Receiver<u64>);

impl Doorbell {
    pub(crate) fn new() -> Self {
        let bell = || watch::Sender::new(0);
        Self { jobs: bell(), logs: bell(), leases: bell() }
    }

    /// A job is ready for a runner.
    pub(crate) fn ring_jobs(&self) {
        self.jobs.send_modify(|rings| *rings += 1);
    }

    /// A log has grown, or a job is over.
    pub(crate) fn ring_logs(&self) {
        self.logs.send_modify(|rings| *rings += 1);
    }

    /// A lease is to be taken back.
    pub(crate) fn ring_leases(&self) {
        self.leases.send_modify(|rings| *rings += 1);
    }

    /// Takes a place to wait for jobs; look for one after taking it, then wait.
    pub(crate) fn await_jobs(&self) -> Waiter {
        Waiter(self.jobs.subscribe())
    }

    /// Takes a place to wait for news in logs.
    pub(crate) fn await_logs(&self) -> Waiter {
        Waiter(self.logs.subscribe())
    }

    /// Takes a place to wait for leases to take back.
    pub(crate) fn await_leases(&self) -> Waiter {
        Waiter(self.leases.subscribe())
    }
}

impl Waiter {
    /// Returns at the next ring, or after at most `longest`, and never later than it takes to
    /// notice what another server did.
    pub(crate) async fn wait(mut self, longest: Duration) {
        // The bell lives as long as the broker, so the only other outcome is that time is up.
        let _is_rung = tokio::time::timeout(longest.min(LOOK_AGAIN), self.0.changed()).await;
    }
}

/// How much longer a caller is ready to wait. Runs by the machine's steady clock, since what is
/// measured is a connection that is held open, and not a moment that is written down.
pub(crate) struct Patience {
    until: Instant,
}

impl Patience {
    pub(crate) fn new(wait: Duration) -> Self {
        Self { until: Instant::now() + wait }
    }

    /// Waits for news and returns `true`; `false` when the caller's time is up.
    pub(crate) async fn wait(&self, news: Waiter) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        news.wait(left).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_waits_longer_than_asked() {
        let bell = Doorbell::new();
        let patience = Patience::new(Duration::from_millis(20));
        let mut rounds = 0;
        while patience.wait(bell.await_logs()).await {
            rounds += 1;
        }
        assert!(rounds >= 1);
        assert!(!Patience::new(Duration::ZERO).wait(bell.await_jobs()).await);
    }

    #[tokio::test]
    async fn one_bell_does_not_ring_the_others() {
        let bell = Doorbell::new();
        let place = bell.await_logs();
        bell.ring_jobs();
        bell.ring_leases();
        let waited = tokio::time::timeout(Duration::from_millis(50), place.wait(LOOK_AGAIN)).await;
        assert!(waited.is_err());
    }

    #[tokio::test]
    async fn a_ring_between_looking_and_waiting_is_heard() {
        let bell = Doorbell::new();
        let place = bell.await_jobs();
        bell.ring_jobs();
        let waited =
            tokio::time::timeout(Duration::from_secs(1), place.wait(Duration::from_mins(1)));
        assert!(waited.await.is_ok());
    }
}
