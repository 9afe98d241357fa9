//! Work of the background loops that belongs to no resource, and waiting for it.

use std::time::Duration;

use keyferry_domain::{Actor, Result};
use keyferry_store::idempotency_keys;

use crate::Broker;
use crate::failure::store_failed;

impl Broker {
    /// Returns when a lease may be due to be taken back: at once when one has ended in this
    /// process, else soon enough for what other servers and time itself have ended.
    pub async fn wait_for_ended_leases(&self) {
        self.jobs.await_leases().wait(Duration::from_secs(1)).await;
    }

    /// Forgets idempotency keys whose time is up.
    pub async fn sweep_idempotency_keys(&self, _actor: &Actor) -> Result<()> {
        let now = self.clock.now();
        idempotency_keys::delete_expired(&self.store, now).await.map_err(store_failed)?;
        Ok(())
    }
}
