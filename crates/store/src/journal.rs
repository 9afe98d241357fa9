//! The one writer of audit events, and of the leases that are born with them: the hot path.
//!
//! Callers queue their entries; one task takes whatever is waiting, up to a bound, and commits
//! it as one transaction with one statement per table, since each statement costs a hop and each
//! commit a sync of the disk. Every caller waits for its own commit. The task alone knows where
//! the chain ends; whatever goes wrong makes it look again.

use std::sync::Arc;

use keyferry_domain::audit::{AuditEvent, ChainedEvent};
use keyferry_domain::lease::Lease;
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::audit::{self, AuditRecord};
use crate::database::{On, Store};
use crate::error::{Result, StoreError};
use crate::leases::LeaseRecord;
use crate::record::Record;
use crate::row::{Param, params};

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
}

struct Waiting {
    entry: Entry,
    canonical: String,
    done: oneshot::Sender<Result<ChainedEvent>>,
}

impl Journal {
    /// Starts the writer of a chain and goes on where the chain ends. On SQLite there is one
    /// chain; on PostgreSQL each server names its own, the same again after a restart.
    pub fn start(store: Store, chain: &str, link: Link) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let closing = Arc::new(Notify::new());
        let writer = Writer { store, chain: chain.to_owned(), link, head: None };
        let task = tokio::spawn(writer.run(waiting, Arc::clone(&closing)));
        Self { queue, closing, writer: Arc::new(Mutex::new(Some(task))) }
    }

    /// Records an event, and the new lease with it; returns when both are durable. With an error,
    /// no answer may leave.
    pub async fn record(&self, entry: impl Into<Entry>) -> Result<ChainedEvent> {
        let entry = entry.into();
        let canonical = audit::canonical(&entry.event);
        let (done, answer) = oneshot::channel();
        let closed = StoreError::Unavailable { source: None };
        if self.queue.send(Waiting { entry, canonical, done }).await.is_err() {
            return Err(closed);
        }
        answer.await.unwrap_or(Err(closed))
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

struct Writer {
    store: Store,
    chain: String,
    link: Link,
    /// Where the chain ends; unknown at the start and after a failure.
    head: Option<(i64, String)>,
}

impl Writer {
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>, closing: Arc<Notify>) {
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
    async fn commit(&mut self, mut group: Vec<Waiting>) {
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
    async fn write(&mut self, group: &[Waiting]) -> Result<Vec<ChainedEvent>> {
        let mut races = 0;
        loop {
            let mut on = On::from(&self.store).together().await?;
            let head = match self.head.take() {
                Some(head) => head,
                None => audit::read_head(&mut on, &self.chain).await?,
            };
            let records = self.chain(head.clone(), group);
            match self.store_all(on, &records, group).await {
                Ok(()) => {
                    self.head = records.last().map(|last| (last.sequence, last.hash.clone()));
                    return Ok(records.into_iter().map(chained).collect());
                }
                Err(error) if error.is_unique_violation() => {
                    races += 1;
                    if audit::head(&self.store, &self.chain).await? == head || races > RACES {
                        return Err(StoreError::AlreadyExists { what: "audit event or lease" });
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives each event its place in the chain.
    fn chain(&self, head: (i64, String), group: &[Waiting]) -> Vec<AuditRecord> {
        let (mut sequence, mut previous_hash) = head;
        let mut records = Vec::with_capacity(group.len());
        for waiting in group {
            sequence += 1;
            let hash = (self.link)(&previous_hash, &waiting.canonical);
            records.push(AuditRecord {
                chain: self.chain.clone(),
                sequence,
                event: waiting.entry.event.clone(),
                canonical: waiting.canonical.clone(),
                previous_hash: std::mem::replace(&mut previous_hash, hash.clone()),
                hash,
            });
        }
        records
    }

    async fn store_all(
        &self,
        mut on: On<'_>,
        records: &[AuditRecord],
        group: &[Waiting],
    ) -> Result<()> {
        let leases: Vec<LeaseRecord> = group
            .iter()
            .filter_map(|waiting| waiting.entry.lease.clone().map(LeaseRecord::new))
            .collect();
        if !leases.is_empty() {
            insert_all(&mut on, &leases, self.store.is_embedded()).await?;
        }
        insert_all(&mut on, records, self.store.is_embedded()).await?;
        on.finish().await
    }
}

fn chained(record: AuditRecord) -> ChainedEvent {
    ChainedEvent {
        sequence: record.sequence,
        event: record.event,
        previous_hash: record.previous_hash,
        hash: record.hash,
    }
}

/// Adds many rows by one statement with one value: the rows as a JSON array. The two engines read
/// such an array in different words; this is the one place where the SQL text differs.
async fn insert_all<R: Record>(on: &mut On<'_>, records: &[R], is_embedded: bool) -> Result<()> {
    let rows: Vec<Vec<Param>> = records.iter().map(Record::params).collect();
    let Some(first) = rows.first() else { return Ok(()) };
    let sql = if is_embedded {
        let values: Vec<String> =
            (0..R::PARTS.len()).map(|place| format!("value ->> '$[{place}]'")).collect();
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM json_each($1)",
            R::TABLE,
            R::COLUMNS,
            values.join(", ")
        )
    } else {
        let (mut values, mut columns) = (Vec::new(), Vec::new());
        for (place, ((column, _), param)) in R::PARTS.iter().zip(first).enumerate() {
            values.push(match param {
                Param::Text(_) => format!("value ->> {place}"),
                Param::Int(_) => format!("CAST(value ->> {place} AS BIGINT)"),
            });
            columns.push(*column);
        }
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM jsonb_array_elements(CAST($1 AS jsonb))",
            R::TABLE,
            columns.join(", "),
            values.join(", ")
        )
    };
    on.execute(sql, params![json_rows(&rows)]).await.map(drop)
}

/// Writes rows as a JSON array of arrays.
fn json_rows(rows: &[Vec<Param>]) -> String {
    let mut json = String::with_capacity(rows.len() * 1024);
    let mut separator = '[';
    for row in rows {
        json.push(separator);
        separator = ',';
        let mut inner = '[';
        for param in row {
            json.push(inner);
            inner = ',';
            match param {
                Param::Text(Some(text)) => json.push_str(&crate::row::to_json(text)),
                Param::Int(Some(number)) => json.push_str(&number.to_string()),
                Param::Text(None) | Param::Int(None) => json.push_str("null"),
            }
        }
        json.push(']');
    }
    json.push(']');
    json
}
