//! The one writer of audit events, and of the leases that are born with them: the hot path.
//!
//! Callers queue their entries; one task takes whatever is waiting, up to a bound, and commits
//! it as one transaction with one statement per table, since each statement costs a hop and each
//! commit a sync of the disk. Every caller waits for its own commit. A change of something else
//! brings its transaction, and its event becomes part of that. Where the chain ends is known to
//! this process alone; whatever goes wrong makes it look again.

use std::sync::Arc;

use keyferry_domain::audit::{AuditEvent, ChainedEvent};
use keyferry_domain::lease::Lease;
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::audit::{self, AuditRecord};
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
    entry: Entry,
    done: oneshot::Sender<Result<ChainedEvent>>,
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
    pub async fn record(&self, entry: impl Into<Entry>) -> Result<ChainedEvent> {
        let (done, answer) = oneshot::channel();
        let closed = StoreError::Unavailable { source: None };
        if self.queue.send(Waiting { entry: entry.into(), done }).await.is_err() {
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
    ) -> Result<Vec<ChainedEvent>> {
        let events: Vec<AuditEvent> = events.into_iter().collect();
        // From here to its end the transaction waits for nothing but the database.
        let mut head = self.chain.head.lock().await;
        *head = None;
        let mut races = 0;
        let records = loop {
            let end = audit::read_head(&mut On::from(&mut change), &self.chain.name).await?;
            let records = self.chain.continued(end, events.iter().cloned());
            let mut on = On::from(&mut change);
            // A refused statement must not be the end of the whole transaction.
            on.execute("SAVEPOINT chain".to_owned(), Vec::new()).await?;
            match on.insert_all(&records).await {
                Ok(()) => break records,
                // Another server writes to the same chain, and was faster.
                Err(error) if error.is_unique_violation() && races < RACES => races += 1,
                Err(error) => return Err(error),
            }
            on.execute("ROLLBACK TO SAVEPOINT chain".to_owned(), Vec::new()).await?;
        };
        change.commit().await?;
        *head = end_of(&records);
        Ok(records.into_iter().map(chained).collect())
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

/// The last sequence number, and its hash.
type Head = (i64, String);

impl Chain {
    /// Gives each event its place after `head`.
    fn continued(&self, head: Head, entries: impl Iterator<Item = AuditEvent>) -> Vec<AuditRecord> {
        let (mut sequence, mut previous_hash) = head;
        let mut records = Vec::with_capacity(entries.size_hint().0);
        for event in entries {
            sequence += 1;
            let canonical = audit::canonical(&event);
            let hash = (self.link)(&previous_hash, &canonical);
            records.push(AuditRecord {
                chain: self.name.clone(),
                sequence,
                event,
                canonical,
                previous_hash: std::mem::replace(&mut previous_hash, hash.clone()),
                hash,
            });
        }
        records
    }
}

fn end_of(records: &[AuditRecord]) -> Option<Head> {
    records.last().map(|last| (last.sequence, last.hash.clone()))
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
        match self.write(&group).await {
            Ok(events) => {
                for (waiting, event) in group.into_iter().zip(events) {
                    // A caller that has gone away does not undo what happened.
                    let _ = waiting.done.send(Ok(event));
                }
            }
            // The database refused one of them: that must not hit the others.
            Err(StoreError::Database { .. } | StoreError::AlreadyExists { .. })
                if group.len() > 1 =>
            {
                for waiting in group.drain(..) {
                    let result = self.write(std::slice::from_ref(&waiting)).await;
                    let result = result.and_then(|mut events| {
                        events.pop().ok_or(StoreError::Unavailable { source: None })
                    });
                    let _ = waiting.done.send(result);
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
    async fn write(&self, group: &[Waiting]) -> Result<Vec<ChainedEvent>> {
        let leases: Vec<LeaseRecord> = group
            .iter()
            .filter_map(|waiting| waiting.entry.lease.clone().map(LeaseRecord::new))
            .collect();
        let mut is_known = true;
        let mut races = 0;
        loop {
            // One statement is a transaction by itself, at a third of the hops.
            let mut on = if is_known && leases.is_empty() {
                On::hold(&self.store).await?
            } else {
                On::from(&self.store).together().await?
            };
            let mut head = self.chain.head.lock().await;
            let end = match head.take() {
                Some(known) => known,
                None => audit::read_head(&mut on, &self.chain.name).await?,
            };
            let events = group.iter().map(|waiting| waiting.entry.event.clone());
            let records = self.chain.continued(end.clone(), events);
            match store_all(on, &records, &leases).await {
                Ok(()) => {
                    *head = end_of(&records);
                    return Ok(records.into_iter().map(chained).collect());
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

async fn store_all(mut on: On<'_>, records: &[AuditRecord], leases: &[LeaseRecord]) -> Result<()> {
    on.insert_all(leases).await?;
    on.insert_all(records).await?;
    on.finish().await
}

fn chained(record: AuditRecord) -> ChainedEvent {
    ChainedEvent {
        sequence: record.sequence,
        event: record.event,
        previous_hash: record.previous_hash,
        hash: record.hash,
    }
}
