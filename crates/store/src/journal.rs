//! The one writer of audit events, and of the leases that are born with them: the hot path.
//!
//! Callers queue their entries; one task takes whatever is waiting, up to a bound, and commits
//! it as one transaction with one statement per table, since each statement costs a hop and each
//! commit a sync of the disk. Every caller waits for its own commit. A change of something else
//! brings its transaction, and its event becomes part of that. Where the chain ends is known to
//! this process alone; whatever goes wrong makes it look again.

use std::sync::Arc;

use keyferry_domain::audit::AuditEvent;
use keyferry_domain::lease::Lease;
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::audit::{self, AuditRecord, Head};
use crate::database::{Change, On, Store};
use crate::error::{Result, StoreError};
use crate::leases::LeaseRecord;

/// Entries of one transaction at most.
const GROUP: usize = 512;

/// Entries that may wait; more callers wait for a place.
const QUEUE: usize = 4096;

/// How often a group is written again because another process has written to the same chain.
const RACES: u32 = 64;

/// Makes the hash of an event from the hash before it and its canonical text.
pub type Link = fn(previous_hash: &str, canonical: &str) -> String;

/// What is to be recorded.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The event.
    pub event: AuditEvent,
    /// A new lease, stored in the same transaction.
    pub lease: Option<Lease>,
}

impl From<AuditEvent> for Entry {
    fn from(event: AuditEvent) -> Self {
        Self { event, lease: None }
    }
}

/// The writer's front. Cloning is cheap; all clones feed the same writer.
#[derive(Clone)]
pub struct Journal {
    queue: mpsc::Sender<Waiting>,
    closing: Arc<Notify>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
    chain: Arc<Chain>,
}

struct Waiting {
    record: AuditRecord,
    lease: Option<LeaseRecord>,
    done: oneshot::Sender<Result<AuditRecord>>,
}

impl Journal {
    /// Starts the writer of a chain and goes on where the chain ends. On SQLite there is one
    /// chain; on PostgreSQL each server names its own, the same again after a restart.
    pub fn start(store: Store, chain: &str, link: Link) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let closing = Arc::new(Notify::new());
        let chain = Arc::new(Chain { name: chain.to_owned(), link, head: Mutex::default() });
        let writer = Writer { store, chain: Arc::clone(&chain) };
        let task = tokio::spawn(writer.run(waiting, Arc::clone(&closing)));
        Self { queue, closing, writer: Arc::new(Mutex::new(Some(task))), chain }
    }

    /// Records an event, and the new lease with it; returns when both are durable. With an error,
    /// no answer may leave.
    pub async fn record(&self, entry: impl Into<Entry>) -> Result<AuditRecord> {
        let Entry { event, lease } = entry.into();
        let (done, answer) = oneshot::channel();
        let closed = StoreError::Unavailable { source: None };
        // Made ready here, side by side with others, and not by the writer for whom all wait.
        let record = AuditRecord::without_place(&self.chain.name, event);
        let waiting = Waiting { record, lease: lease.map(LeaseRecord::new), done };
        if self.queue.send(waiting).await.is_err() {
            return Err(closed);
        }
        answer.await.unwrap_or(Err(closed))
    }

    /// Commits a change together with the events that tell of it: both are durable when this
    /// returns, or neither is.
    pub async fn commit(
        &self,
        mut change: Change,
        events: impl IntoIterator<Item = AuditEvent>,
    ) -> Result<Vec<AuditRecord>> {
        let ready = |event| AuditRecord::without_place(&self.chain.name, event);
        let mut records: Vec<AuditRecord> = events.into_iter().map(ready).collect();
        // From here to its end the transaction waits for nothing but the database.
        let mut head = self.chain.head.lock().await;
        *head = None;
        let mut races = 0;
        loop {
            let end = audit::read_head(&mut On::from(&mut change), &self.chain.name).await?;
            self.chain.place(end, &mut records);
            let mut on = On::from(&mut change);
            // A refused statement must not be the end of the whole transaction.
            on.execute("SAVEPOINT chain".to_owned(), Vec::new()).await?;
            match on.insert_all(&records).await {
                Ok(()) => break,
                // Another server writes to the same chain, and was faster.
                Err(error) if error.is_unique_violation() && races < RACES => races += 1,
                Err(error) => return Err(error),
            }
            on.execute("ROLLBACK TO SAVEPOINT chain".to_owned(), Vec::new()).await?;
        }
        change.commit().await?;
        *head = records.last().map(AuditRecord::end);
        Ok(records)
    }

    /// Takes no more entries, writes those that wait, and returns when that is done.
    pub async fn close(&self) {
        self.closing.notify_one();
        if let Some(writer) = self.writer.lock().await.take() {
            // It ends without a result; a panic in it has been reported where it happened.
            let _ = writer.await;
        }
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Journal")
    }
}

/// A chain of events, as far as this process knows it.
struct Chain {
    name: String,
    link: Link,
    /// Where it ends; unknown at the start and after a failure. Locked by whoever adds to it, and
    /// only after it has its connection: so that the two are never waited for in a circle.
    head: Mutex<Option<Head>>,
}

impl Chain {
    /// Gives each record its place after `head`, one after the other.
    fn place<'r>(&self, head: Head, records: impl IntoIterator<Item = &'r mut AuditRecord>) {
        let (mut sequence, mut previous_hash) = head;
        for record in records {
            sequence += 1;
            let hash = (self.link)(&previous_hash, &record.canonical);
            record.sequence = sequence;
            record.previous_hash = std::mem::replace(&mut previous_hash, hash.clone());
            record.hash = hash;
        }
    }
}

struct Writer {
    store: Store,
    chain: Arc<Chain>,
}

impl Writer {
    async fn run(self, mut waiting: mpsc::Receiver<Waiting>, closing: Arc<Notify>) {
        let mut group = Vec::with_capacity(GROUP);
        loop {
            let count = tokio::select! {
                count = waiting.recv_many(&mut group, GROUP) => count,
                () = closing.notified() => {
                    waiting.close();
                    continue;
                }
            };
            if count == 0 {
                return;
            }
            self.commit(std::mem::take(&mut group)).await;
        }
    }

    /// Writes a group and tells each caller.
    async fn commit(&self, mut group: Vec<Waiting>) {
        match self.write(&mut group).await {
            Ok(()) => {
                for waiting in group {
                    // A caller that has gone away does not undo what happened.
                    let _ = waiting.done.send(Ok(waiting.record));
                }
            }
            // The database refused one of them: that must not hit the others.
            Err(StoreError::Database { .. } | StoreError::AlreadyExists { .. })
                if group.len() > 1 =>
            {
                for mut waiting in group {
                    let written = self.write(std::slice::from_mut(&mut waiting)).await;
                    let _ = waiting.done.send(written.map(|()| waiting.record));
                }
            }
            Err(error) => {
                for waiting in group {
                    let _ = waiting.done.send(Err(error.clone()));
                }
            }
        }
    }

    /// Writes a group as one transaction, again if another process was faster. The end of the
    /// chain is then read within the transaction: on SQLite that cannot lose a second time.
    async fn write(&self, group: &mut [Waiting]) -> Result<()> {
        let is_one_statement = group.iter().all(|waiting| waiting.lease.is_none());
        let mut is_known = true;
        let mut races = 0;
        loop {
            // One statement is a transaction by itself, at a third of the hops.
            let mut on = if is_known && is_one_statement {
                On::hold(&self.store).await?
            } else {
                On::from(&self.store).together().await?
            };
            let mut head = self.chain.head.lock().await;
            let end = match head.take() {
                Some(known) => known,
                None => audit::read_head(&mut on, &self.chain.name).await?,
            };
            self.chain.place(end.clone(), group.iter_mut().map(|waiting| &mut waiting.record));
            match store_all(on, group).await {
                Ok(()) => {
                    *head = group.last().map(|waiting| waiting.record.end());
                    return Ok(());
                }
                Err(error) if error.is_unique_violation() => {
                    races += 1;
                    is_known = false;
                    if audit::head(&self.store, &self.chain.name).await? == end || races > RACES {
                        return Err(StoreError::AlreadyExists { what: "audit event or lease" });
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

async fn store_all(mut on: On<'_>, group: &[Waiting]) -> Result<()> {
    on.insert_all(group.iter().filter_map(|waiting| waiting.lease.as_ref())).await?;
    on.insert_all(group.iter().map(|waiting| &waiting.record)).await?;
    on.finish().await
}
