//! Waiting for work of the background loops.

use std::time::Duration;

use crate::Broker;

impl Broker {
    /// Returns when a lease may be due to be taken back: at once when one has ended in this
    /// process, else soon enough for what other servers and time itself have ended.
    pub async fn wait_for_ended_leases(&self) {
        self.jobs.await_leases().wait(Duration::from_secs(1)).await;
    }
}
