//! What is kept in memory so that a holder who asks again costs no read and no mint.
//!
//! Three things: who a token stands for, what a holder may have, and the material that was handed
//! over. The first two are forgotten whenever anything changes in this process, and after
//! [`TRUST`] anyway, since another server may have changed it. Material belongs to one holder and
//! goes with it; that of a lease which another server has ended goes when the holder is read anew.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyferry_domain::actor::Identity;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{CredentialId, LeaseId};
use keyferry_domain::operation::Operation;

use super::IssuedLease;
use super::holder::HolderContext;

/// How long a server believes what another server may have changed.
const TRUST: Duration = Duration::from_secs(2);

/// How long material is kept that nobody asks for.
const IDLE: Duration = Duration::from_hours(1);

/// Names one piece of material.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MaterialKey {
    pub(super) holder: String,
    pub(super) connection: ConnectionId,
    pub(super) credential: CredentialId,
    pub(super) credential_version: i64,
    pub(super) operation: Operation,
}

/// A value and the state of the world in which it was read.
#[derive(Clone)]
struct Read<T> {
    generation: u64,
    value: T,
}

/// The memory of the hot path.
pub(crate) struct Cache {
    generation: AtomicU64,
    identities: moka::future::Cache<String, Read<Identity>>,
    holders: moka::future::Cache<String, Read<Arc<HolderContext>>>,
    pub(super) material: moka::future::Cache<MaterialKey, IssuedLease>,
    /// Leases whose mint is under way in this process; the sweeper leaves them alone.
    minting: Mutex<HashSet<LeaseId>>,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self {
            generation: AtomicU64::new(0),
            identities: moka::future::Cache::builder()
                .max_capacity(50_000)
                .time_to_live(TRUST)
                .build(),
            holders: moka::future::Cache::builder()
                .max_capacity(10_000)
                .time_to_live(TRUST)
                .build(),
            material: moka::future::Cache::builder()
                .max_capacity(50_000)
                .time_to_idle(IDLE)
                .support_invalidation_closures()
                .build(),
            minting: Mutex::default(),
        }
    }

    /// Forgets who may what. [`Broker::commit_all`](crate::Broker::commit_all) does so after every
    /// change.
    pub(super) fn forget(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Forgets who may what when the guard is dropped: held over a commit, so that nothing that was
    /// read before or during it is believed after.
    pub(crate) fn forget_at_the_end(&self) -> Forget<'_> {
        Forget(self)
    }

    /// Forgets the material of a holder that has ended.
    pub(crate) fn forget_holder(&self, holder: &str) {
        self.forget();
        let holder = holder.to_owned();
        // Cannot fail: the cache was built with support for it.
        let _id = self.material.invalidate_entries_if(move |key, _| key.holder == holder);
    }

    /// Forgets the material of a connection that was changed or deleted.
    pub(crate) fn forget_connection(&self, connection: &ConnectionId) {
        self.forget();
        let connection = connection.clone();
        let _id = self.material.invalidate_entries_if(move |key, _| key.connection == connection);
    }

    /// Reads the present generation; take it before reading what is to be kept.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Returns who a token's hash stands for, if that is known.
    pub(crate) async fn identity(&self, hash: &str) -> Option<Identity> {
        let read = self.identities.get(hash).await?;
        (read.generation == self.generation()).then_some(read.value)
    }

    /// Keeps who a token's hash stands for.
    pub(crate) async fn keep_identity(&self, generation: u64, hash: String, value: Identity) {
        self.identities.insert(hash, Read { generation, value }).await;
    }

    pub(super) async fn holder(&self, id: &str) -> Option<Arc<HolderContext>> {
        let read = self.holders.get(id).await?;
        (read.generation == self.generation()).then_some(read.value)
    }

    pub(super) async fn keep_holder(&self, generation: u64, id: String, value: Arc<HolderContext>) {
        self.holders.insert(id, Read { generation, value }).await;
    }

    /// Marks a mint as under way until the mark is dropped.
    pub(super) fn mark_minting(self: &Cache, id: &LeaseId) -> Minting<'_> {
        self.minting.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        Minting { cache: self, id: id.clone() }
    }

    pub(super) fn is_minting(&self, id: &LeaseId) -> bool {
        self.minting.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }
}

/// See [`Cache::forget_at_the_end`].
pub(crate) struct Forget<'a>(&'a Cache);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.forget();
    }
}

/// The mark of a mint that is under way.
pub(super) struct Minting<'a> {
    cache: &'a Cache,
    id: LeaseId,
}

impl Drop for Minting<'_> {
    fn drop(&mut self) {
        self.cache.minting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_read_while_a_change_was_committed_is_not_believed_after() {
        let cache = Cache::new();
        let commit = cache.forget_at_the_end();
        let generation = cache.generation();
        cache.keep_identity(generation, "known".to_owned(), Identity::System).await;
        assert!(cache.identity("known").await.is_some());
        drop(commit);
        assert!(cache.identity("known").await.is_none());
        // Read before, kept after.
        cache.keep_identity(generation, "late".to_owned(), Identity::System).await;
        assert!(cache.identity("late").await.is_none());
        cache.keep_identity(cache.generation(), "new".to_owned(), Identity::System).await;
        assert!(cache.identity("new").await.is_some());
    }
}
