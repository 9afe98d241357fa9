//! SQLite's checkpoints, beside the writer instead of in it: a commit never waits for one.
//!
//! A passive checkpoint on a connection of its own copies pages back while writes go on. It can
//! never catch up with a steady stream of writes, and only a log that was caught up with starts
//! over, so beyond a bound the writer is held for the short rest. Unknown to PostgreSQL.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection};

use crate::database::Engine;

/// How often there is a look; bounds how much the log grows between two.
const INTERVAL: Duration = Duration::from_millis(500);

/// Pages (of 4 KiB) in the log beyond which the writer is held to start the log over.
const RESTART_PAGES: i64 = 8192;

/// Starts the loop; it ends with the store.
pub(crate) fn spawn(engine: Weak<Engine>, options: SqliteConnectOptions) {
    tokio::spawn(async move {
        let mut connection: Option<SqliteConnection> = None;
        let mut seen = 0;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(engine) = engine.upgrade() else { return };
            let Engine::Lite(lite) = &*engine else { return };
            if lite.writer.is_closed() {
                return;
            }
            let writes = lite.writes.load(Ordering::Relaxed);
            if writes == seen {
                continue;
            }
            if connection.is_none() {
                connection = options.connect().await.ok();
            }
            let Some(open) = connection.as_mut() else { continue };
            let answer = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut *open).await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::warn!(%error, "could not checkpoint the database; trying again");
                    connection = None;
                    continue;
                }
            };
            seen = writes;
            if pages_in_log(&answer) > RESTART_PAGES
                && let Ok(mut writer) = lite.writer.acquire().await
            {
                // Readers may keep this from succeeding; the next look tries again.
                let _ = sqlx::query("PRAGMA wal_checkpoint(RESTART)").fetch_one(&mut *writer).await;
            }
        }
    });
}

/// Returns the second column of the answer: <https://sqlite.org/pragma.html#pragma_wal_checkpoint>.
fn pages_in_log(answer: &SqliteRow) -> i64 {
    answer.try_get(1).unwrap_or(0)
}
