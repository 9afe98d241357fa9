//! From Rust values to columns and back. Every column is TEXT or BIGINT, so two kinds of
//! parameter are enough for both engines. No SQL here; see `record` for what is built on this.

use std::collections::BTreeMap;

use keyferry_domain::audit::Outcome;
use keyferry_domain::connection::{ConnectionId, HealthStatus};
use keyferry_domain::credential::CredentialKind;
use keyferry_domain::id::{
    BindingId, CredentialId, EventId, GroupId, JobId, LeaseId, OrganizationId, PipelineId,
    RequestId, RunId, RunnerId, SessionId, TokenId, UserId, WorkloadId,
};
use keyferry_domain::lease::{EndReason, Narrowing, Residue};
use keyferry_domain::operation::Operation;
use keyferry_domain::run::{Isolation, JobState, RunState, StepState};
use keyferry_domain::token::TokenKind;
use keyferry_domain::{PipelineRole, Role, Scope, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::error::{Result, StoreError};

/// One bound value.
#[derive(Debug, Clone)]
pub(crate) enum Param {
    Text(Option<String>),
    Int(Option<i64>),
}

impl Param {
    /// Text without NUL, since PostgreSQL has no place for it in a TEXT.
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(Some(if text.contains('\0') {
            text.replace('\0', "\u{fffd}")
        } else {
            text.to_owned()
        }))
    }

    /// Returns NULL of the same kind.
    pub(crate) const fn to_null(&self) -> Self {
        match self {
            Self::Text(_) => Self::Text(None),
            Self::Int(_) => Self::Int(None),
        }
    }
}

/// One row of an answer, of either engine.
pub(crate) struct Row {
    table: &'static str,
    inner: EngineRow,
}

pub(crate) enum EngineRow {
    Lite(SqliteRow),
    Pg(PgRow),
}

impl Row {
    pub(crate) const fn new(table: &'static str, inner: EngineRow) -> Self {
        Self { table, inner }
    }

    /// Reads a column into the type that it is for.
    pub(crate) fn get<T: Column>(&self, column: &'static str) -> Result<T> {
        T::read(self, column)
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<Option<String>> {
        match &self.inner {
            EngineRow::Lite(row) => row.try_get(column),
            EngineRow::Pg(row) => row.try_get(column),
        }
        .map_err(|_| self.corrupt(column))
    }

    pub(crate) fn int(&self, column: &'static str) -> Result<Option<i64>> {
        match &self.inner {
            EngineRow::Lite(row) => row.try_get(column),
            EngineRow::Pg(row) => row.try_get(column),
        }
        .map_err(|_| self.corrupt(column))
    }

    pub(crate) fn corrupt(&self, column: &'static str) -> StoreError {
        let id: Option<String> = match &self.inner {
            EngineRow::Lite(row) => row.try_get("id").ok(),
            EngineRow::Pg(row) => row.try_get("id").ok(),
        };
        StoreError::Corrupt { table: self.table, column, id: id.unwrap_or_default() }
    }
}

/// A type that lives in one column.
pub(crate) trait Column: Sized {
    /// How its absence is bound.
    const NULL: Param;

    fn to_param(&self) -> Param;

    /// Reads what is there; `None` for NULL.
    fn read_optional(row: &Row, column: &'static str) -> Result<Option<Self>>;

    fn read(row: &Row, column: &'static str) -> Result<Self> {
        Self::read_optional(row, column)?.ok_or_else(|| row.corrupt(column))
    }
}

impl<T: Column> Column for Option<T> {
    const NULL: Param = T::NULL;

    fn to_param(&self) -> Param {
        self.as_ref().map_or(T::NULL, Column::to_param)
    }

    fn read_optional(row: &Row, column: &'static str) -> Result<Option<Self>> {
        T::read_optional(row, column).map(Some)
    }
}

impl Column for String {
    const NULL: Param = Param::Text(None);

    fn to_param(&self) -> Param {
        Param::text(self)
    }

    fn read_optional(row: &Row, column: &'static str) -> Result<Option<Self>> {
        row.text(column)
    }
}

impl Column for i64 {
    const NULL: Param = Param::Int(None);

    fn to_param(&self) -> Param {
        Param::Int(Some(*self))
    }

    fn read_optional(row: &Row, column: &'static str) -> Result<Option<Self>> {
        row.int(column)
    }
}

impl Column for Timestamp {
    const NULL: Param = Param::Int(None);

    fn to_param(&self) -> Param {
        Param::Int(Some(self.millis()))
    }

    fn read_optional(row: &Row, column: &'static str) -> Result<Option<Self>> {
        Ok(row.int(column)?.map(Self::from_millis))
    }
}

/// Types with one spelling: `Display` writes what `FromStr` reads.
macro_rules! columns_as_text {
    ($($type:ty),* $(,)?) => {$(
        impl Column for $type {
            const NULL: Param = Param::Text(None);

            fn to_param(&self) -> Param {
                Param::text(self.as_str())
            }

            fn read_optional(row: &Row, column: &'static str) -> Result<Option<Self>> {
                row.text(column)?
                    .map(|text| text.parse().map_err(|_| row.corrupt(column)))
                    .transpose()
            }
        }
    )*};
}
pub(crate) use columns_as_text;

columns_as_text!(
    BindingId,
    ConnectionId,
    CredentialId,
    CredentialKind,
    EndReason,
    EventId,
    GroupId,
    HealthStatus,
    Isolation,
    JobId,
    JobState,
    LeaseId,
    OrganizationId,
    Outcome,
    PipelineId,
    PipelineRole,
    RequestId,
    Role,
    RunId,
    RunState,
    RunnerId,
    Scope,
    SessionId,
    StepState,
    TokenId,
    TokenKind,
    UserId,
    WorkloadId,
);

/// Types that are stored as JSON text.
macro_rules! columns_as_json {
    ($($type:ty),* $(,)?) => {$(
        impl Column for $type {
            const NULL: Param = Param::Text(None);

            fn to_param(&self) -> Param {
                Param::text(&to_json(self))
            }

            fn read_optional(row: &Row, column: &'static str) -> Result<Option<Self>> {
                row.text(column)?
                    .map(|text| from_json(&text).ok_or_else(|| row.corrupt(column)))
                    .transpose()
            }
        }
    )*};
}

columns_as_json!(
    BTreeMap<String, String>,
    BTreeMap<String, u64>,
    Vec<String>,
    Vec<ConnectionId>,
    serde_json::Value,
    Operation,
    Narrowing,
    Residue,
);

/// Writes JSON text.
#[expect(clippy::expect_used, reason = "the types in use have text keys and no failing serializer")]
pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    // INVARIANT: serde_json fails only on non-text map keys and on serializers that fail.
    serde_json::to_string(value).expect("serializes")
}

fn from_json<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// Binds values in order.
macro_rules! params {
    ($($value:expr),* $(,)?) => { vec![$($crate::row::Column::to_param(&$value)),*] };
}
pub(crate) use params;

impl<T: Column> Column for &T {
    const NULL: Param = T::NULL;

    fn to_param(&self) -> Param {
        (*self).to_param()
    }

    fn read_optional(row: &Row, column: &'static str) -> Result<Option<Self>> {
        // A reference can be bound, never read.
        Err(row.corrupt(column))
    }
}

impl Column for &str {
    const NULL: Param = Param::Text(None);

    fn to_param(&self) -> Param {
        Param::text(self)
    }

    fn read_optional(row: &Row, column: &'static str) -> Result<Option<Self>> {
        Err(row.corrupt(column))
    }
}
