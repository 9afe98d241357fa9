//! How the store fails. It does not say what that means for a caller; `broker` does.

use std::sync::Arc;

/// Result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A failed store operation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Something with the same id, name or address is there already.
    #[error("add a {what} that exists already")]
    AlreadyExists {
        /// What it is: `connection`, `user`, …
        what: &'static str,
    },
    /// A compare-and-set lost: the row has another version, or is gone.
    #[error("change a {what} that has changed in the meantime")]
    Stale {
        /// What it is: `connection`, `user`, …
        what: &'static str,
        /// The version that it has now; absent when it does not exist, or no longer.
        current_version: Option<i64>,
    },
    /// A column holds what this version of Keyferry cannot read.
    #[error("read column `{column}` of `{id}` in table `{table}`")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's id; empty when the row has none.
        id: String,
    },
    /// The cursor does not come from this list.
    #[error("go on in a list from a cursor that is not one of its own")]
    InvalidCursor,
    /// The address of the database is not one.
    #[error(
        "read the database address; write it like `sqlite:///path/file.db` or `postgres://user@host/name`"
    )]
    InvalidUrl,
    /// The database does not answer, is locked for too long, or is shutting down.
    #[error("reach the database")]
    Unavailable {
        /// The cause; absent when Keyferry itself is shutting down.
        #[source]
        source: Option<Arc<sqlx::Error>>,
    },
    /// The database refused.
    #[error("run a database statement")]
    Database {
        /// The cause.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The schema could not be brought up to date.
    #[error("bring the database schema up to date")]
    Migrate {
        /// The cause.
        #[source]
        source: Arc<sqlx::migrate::MigrateError>,
    },
}

impl StoreError {
    /// Tells whether the database refused because a unique key was taken.
    pub(crate) fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database { source } if source
            .as_database_error()
            .is_some_and(sqlx::error::DatabaseError::is_unique_violation))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(source: sqlx::Error) -> Self {
        let is_unavailable = match &source {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(error) => error.code().is_some_and(|code| is_transient(&code)),
            _ => false,
        };
        let source = Arc::new(source);
        if is_unavailable {
            Self::Unavailable { source: Some(source) }
        } else {
            Self::Database { source }
        }
    }
}

/// Tells whether a code means "not now": SQLite's BUSY, FULL and IOERR families
/// (<https://sqlite.org/rescode.html>), and PostgreSQL's classes 08, 40, 53, 57P and read-only
/// standby (<https://www.postgresql.org/docs/15/errcodes-appendix.html>).
fn is_transient(code: &str) -> bool {
    if code.len() == 5 {
        return ["08", "40", "53", "57P"].iter().any(|class| code.starts_with(class))
            || code == "25006";
    }
    code.parse::<i64>().is_ok_and(|code| matches!(code & 0xff, 5 | 10 | 13))
}

#[cfg(test)]
mod tests {
    use super::is_transient;

    #[test]
    fn codes_that_mean_not_now_are_told_from_refusals() {
        for code in ["5", "261", "517", "13", "40001", "57P01", "53300", "08006"] {
            assert!(is_transient(code), "{code}");
        }
        for code in ["1", "19", "2067", "1555", "787", "23505", "42601", "57014", ""] {
            assert!(!is_transient(code), "{code}");
        }
    }
}
