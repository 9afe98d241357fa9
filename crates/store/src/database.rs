//! The two engines behind one face: opening, statements, transactions.
//!
//! SQLite has one writing connection and a few reading ones; PostgreSQL has a pool. Nobody outside
//! this file knows which one it is, except `journal` and `migrate` for their few words of dialect.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{
    AssertSqlSafe, PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool,
    Transaction,
};

use crate::checkpoint;
use crate::error::{Result, StoreError};
use crate::row::{EngineRow, Param, Row};

/// How long a statement waits for a connection, or for SQLite's write lock.
const WAIT: Duration = Duration::from_secs(10);

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// SQLite's reading connections; more than the machine's cores bring nothing.
    pub readers: u32,
    /// PostgreSQL's connections.
    pub connections: u32,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { readers: 4, connections: 16 }
    }
}

/// The database. Cloning is cheap and shares the connections.
#[derive(Clone)]
pub struct Store {
    pub(crate) engine: Arc<Engine>,
}

pub(crate) enum Engine {
    Lite(Lite),
    Pg(PgPool),
}

/// SQLite's connections.
pub(crate) struct Lite {
    pub(crate) readers: SqlitePool,
    /// Exactly one connection: two writers would only get in each other's way.
    pub(crate) writer: SqlitePool,
    /// Counts writes, so that the checkpoint loop knows whether there is anything to do.
    pub(crate) writes: AtomicU64,
}

impl Store {
    /// Opens `sqlite:///path/file.db` (made when absent, readable by this user only) or
    /// `postgres://…`. Call [`Store::migrate`] before anything else.
    pub async fn open(url: &str, options: StoreOptions) -> Result<Self> {
        if url.starts_with("sqlite:") {
            let path = lite_path(url).ok_or(StoreError::InvalidUrl)?;
            Self::open_lite(&path, &options).await
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            // The parser's error may repeat the address, and with it the password.
            let connect = PgConnectOptions::from_str(url)
                .map_err(|_| StoreError::InvalidUrl)?
                .application_name("keyferry");
            let pool = PgPoolOptions::new()
                .max_connections(options.connections)
                .acquire_timeout(WAIT)
                .connect_with(connect)
                .await?;
            Ok(Self { engine: Arc::new(Engine::Pg(pool)) })
        } else {
            Err(StoreError::InvalidUrl)
        }
    }

    async fn open_lite(path: &Path, options: &StoreOptions) -> Result<Self> {
        create_private(path).map_err(|error| StoreError::from(sqlx::Error::Io(error)))?;
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // Every commit survives a power loss: an answer may be on its way already.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(WAIT)
            .statement_cache_capacity(256)
            // The checkpoint loop does this on a connection of its own; see `checkpoint`.
            .pragma("wal_autocheckpoint", "0")
            .pragma("cache_size", "-16384");
        let writer = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(1)
            .acquire_timeout(WAIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(connect.clone())
            .await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .acquire_timeout(WAIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(connect.clone().pragma("query_only", "ON"))
            .await?;
        let engine = Arc::new(Engine::Lite(Lite { readers, writer, writes: AtomicU64::new(0) }));
        checkpoint::spawn(Arc::downgrade(&engine), connect);
        Ok(Self { engine })
    }

    /// Tells whether this is SQLite: one machine, one server, one audit chain.
    pub fn is_embedded(&self) -> bool {
        matches!(&*self.engine, Engine::Lite(_))
    }

    /// Asks the database for a sign of life.
    pub async fn ping(&self) -> Result<()> {
        On::from(self).query("", "SELECT 1 AS one".to_owned(), Vec::new()).await.map(drop)
    }

    /// Starts a transaction. On SQLite it holds the one writing connection, so nothing slow
    /// may happen before its end, and every write until then must go through it.
    pub async fn begin(&self) -> Result<Change> {
        Ok(Change(match &*self.engine {
            Engine::Lite(lite) => {
                lite.writes.fetch_add(1, Ordering::Relaxed);
                // A deferred transaction that reads first and writes then would fail without waiting.
                Begun::Lite(lite.writer.begin_with("BEGIN IMMEDIATE").await?)
            }
            Engine::Pg(pool) => Begun::Pg(pool.begin().await?),
        }))
    }

    /// Closes every connection, after the statements under way.
    pub async fn close(&self) {
        match &*self.engine {
            Engine::Lite(lite) => {
                lite.readers.close().await;
                lite.writer.close().await;
            }
            Engine::Pg(pool) => pool.close().await,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.is_embedded() { "Store(sqlite)" } else { "Store(postgres)" })
    }
}

/// Returns the file of a `sqlite:` address.
fn lite_path(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let is_file = !path.is_empty() && !path.contains(['?', ':']) && !path.ends_with('/');
    is_file.then(|| PathBuf::from(path))
}

/// Makes the file with rights for this user only; SQLite gives its side files the same rights.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// A transaction; dropping it undoes it.
pub struct Change(Begun);

enum Begun {
    Lite(Transaction<'static, Sqlite>),
    Pg(Transaction<'static, Postgres>),
}

impl Change {
    /// Makes everything in it durable.
    pub async fn commit(self) -> Result<()> {
        match self.0 {
            Begun::Lite(transaction) => transaction.commit().await?,
            Begun::Pg(transaction) => transaction.commit().await?,
        }
        Ok(())
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Change")
    }
}

/// Where a function works: on the store by itself (`&store`), or within a transaction
/// (`&mut change`). Every function takes either.
pub struct On<'a>(Place<'a>);

enum Place<'a> {
    Store(&'a Store),
    Change(&'a mut Change),
    Own(Change),
    Held(Held),
}

/// A connection outside a transaction.
enum Held {
    Lite(PoolConnection<Sqlite>),
    Pg(PoolConnection<Postgres>),
}

/// By what a statement reaches the database.
enum Way<'a> {
    LitePool(&'a SqlitePool),
    PgPool(&'a PgPool),
    Lite(&'a mut SqliteConnection),
    Pg(&'a mut PgConnection),
}

impl<'a> From<&'a Store> for On<'a> {
    fn from(store: &'a Store) -> Self {
        Self(Place::Store(store))
    }
}

impl<'a> From<&'a mut Change> for On<'a> {
    fn from(change: &'a mut Change) -> Self {
        Self(Place::Change(change))
    }
}

impl fmt::Debug for On<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("On")
    }
}

/// A query with its values bound.
macro_rules! bound {
    ($sql:expr, $params:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe($sql));
        for param in $params {
            query = match param {
                Param::Text(value) => query.bind(value),
                Param::Int(value) => query.bind(value),
            };
        }
        query
    }};
}

fn lite_rows(table: &'static str, rows: Vec<sqlx::sqlite::SqliteRow>) -> Vec<Row> {
    rows.into_iter().map(|row| Row::new(table, EngineRow::Lite(row))).collect()
}

fn pg_rows(table: &'static str, rows: Vec<sqlx::postgres::PgRow>) -> Vec<Row> {
    rows.into_iter().map(|row| Row::new(table, EngineRow::Pg(row))).collect()
}

impl On<'_> {
    pub(crate) fn is_embedded(&self) -> bool {
        match &self.0 {
            Place::Store(store) => store.is_embedded(),
            Place::Change(Change(begun)) | Place::Own(Change(begun)) => {
                matches!(begun, Begun::Lite(_))
            }
            Place::Held(held) => matches!(held, Held::Lite(_)),
        }
    }

    /// Makes sure that the following statements are one transaction: the caller's, or one that
    /// [`On::finish`] ends.
    pub(crate) async fn together(self) -> Result<Self> {
        match self.0 {
            Place::Store(store) => Ok(Self(Place::Own(store.begin().await?))),
            place => Ok(Self(place)),
        }
    }

    /// Takes the connection that writes, for statements that are a transaction each.
    pub(crate) async fn hold(store: &Store) -> Result<Self> {
        Ok(Self(Place::Held(match &*store.engine {
            Engine::Lite(lite) => {
                lite.writes.fetch_add(1, Ordering::Relaxed);
                Held::Lite(lite.writer.acquire().await?)
            }
            Engine::Pg(pool) => Held::Pg(pool.acquire().await?),
        })))
    }

    /// Commits what [`On::together`] began.
    pub(crate) async fn finish(self) -> Result<()> {
        match self.0 {
            Place::Own(change) => change.commit().await,
            Place::Store(_) | Place::Change(_) | Place::Held(_) => Ok(()),
        }
    }

    /// Runs a statement that only reads.
    pub(crate) async fn query(
        &mut self,
        table: &'static str,
        sql: String,
        params: Vec<Param>,
    ) -> Result<Vec<Row>> {
        if let Place::Store(store) = &self.0
            && let Engine::Lite(lite) = &*store.engine
        {
            let rows = bound!(sql, params).fetch_all(&lite.readers).await?;
            return Ok(lite_rows(table, rows));
        }
        self.run(table, sql, params).await
    }

    /// Runs a statement that writes and returns rows.
    pub(crate) async fn change(
        &mut self,
        table: &'static str,
        sql: String,
        params: Vec<Param>,
    ) -> Result<Vec<Row>> {
        self.run(table, sql, params).await
    }

    async fn run(
        &mut self,
        table: &'static str,
        sql: String,
        params: Vec<Param>,
    ) -> Result<Vec<Row>> {
        Ok(match self.way() {
            Way::LitePool(pool) => lite_rows(table, bound!(sql, params).fetch_all(pool).await?),
            Way::Lite(lite) => lite_rows(table, bound!(sql, params).fetch_all(lite).await?),
            Way::PgPool(pool) => pg_rows(table, bound!(sql, params).fetch_all(pool).await?),
            Way::Pg(pg) => pg_rows(table, bound!(sql, params).fetch_all(pg).await?),
        })
    }

    /// Runs a statement that writes; returns how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: String, params: Vec<Param>) -> Result<u64> {
        Ok(match self.way() {
            Way::LitePool(pool) => bound!(sql, params).execute(pool).await?.rows_affected(),
            Way::Lite(lite) => bound!(sql, params).execute(lite).await?.rows_affected(),
            Way::PgPool(pool) => bound!(sql, params).execute(pool).await?.rows_affected(),
            Way::Pg(pg) => bound!(sql, params).execute(pg).await?.rows_affected(),
        })
    }

    /// Returns the way of a statement that may write.
    fn way(&mut self) -> Way<'_> {
        match &mut self.0 {
            Place::Store(store) => match &*store.engine {
                Engine::Lite(lite) => {
                    lite.writes.fetch_add(1, Ordering::Relaxed);
                    Way::LitePool(&lite.writer)
                }
                Engine::Pg(pool) => Way::PgPool(pool),
            },
            Place::Change(Change(begun)) | Place::Own(Change(begun)) => match begun {
                Begun::Lite(transaction) => Way::Lite(transaction),
                Begun::Pg(transaction) => Way::Pg(transaction),
            },
            Place::Held(Held::Lite(connection)) => Way::Lite(connection),
            Place::Held(Held::Pg(connection)) => Way::Pg(connection),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_sqlite_addresses() {
        assert_eq!(lite_path("sqlite:///var/k.db"), Some(PathBuf::from("/var/k.db")));
        assert_eq!(lite_path("sqlite:k.db"), Some(PathBuf::from("k.db")));
        for url in ["sqlite:", "sqlite://", "sqlite::memory:", "sqlite:///k.db?mode=ro", "k.db"] {
            assert_eq!(lite_path(url), None, "{url}");
        }
    }
}
