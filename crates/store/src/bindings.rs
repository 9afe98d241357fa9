//! Bindings: a pipeline's right to use a connection in one place, for one fingerprint.

use keyferry_domain::Timestamp;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{BindingId, OrganizationId, PipelineId, UserId};

use crate::database::On;
use crate::error::Result;
use crate::record::record;
use crate::row::{Column, Param, Row, columns_as_text, params};

/// Where a binding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingState {
    /// Someone who may use the connection has agreed to exactly this place.
    Approved,
    /// The place is new or has changed since.
    NeedsApproval,
    /// Someone has taken the approval back.
    Revoked,
    /// The connection is gone.
    Broken,
}

impl BindingState {
    /// Returns the one spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::NeedsApproval => "needs_approval",
            Self::Revoked => "revoked",
            Self::Broken => "broken",
        }
    }
}

/// The text is not a binding's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read a binding's state; expected `approved`, `needs_approval`, `revoked` or `broken`")]
pub struct UnknownBindingState;

impl std::str::FromStr for BindingState {
    type Err = UnknownBindingState;

    fn from_str(text: &str) -> Result<Self, UnknownBindingState> {
        [Self::Approved, Self::NeedsApproval, Self::Revoked, Self::Broken]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(UnknownBindingState)
    }
}

columns_as_text!(BindingState);

record! {
    /// A pipeline's right to use a connection in one place.
    pub struct BindingRecord in "bindings" as "binding" {
        /// The organization.
        key organization_id: OrganizationId,
        /// Its id.
        key id: BindingId,
        /// The pipeline.
        fix pipeline_id: PipelineId,
        /// The connection.
        fix connection_id: ConnectionId,
        /// The source or job: `source app`, `job build`.
        fix place: String,
        /// What the place looked like when the binding got its state.
        set fingerprint: String,
        /// The last revision that has the place.
        set revision: i64,
        /// Where it stands.
        set state: BindingState,
        /// Why, for a person: who took it back, which connection was deleted.
        set reason: Option<String>,
        /// Who agreed.
        set approved_by: Option<UserId>,
        /// When.
        set approved_at: Option<Timestamp>,
        /// When it was made.
        fix created_at: Timestamp,
        /// When it was last changed.
        set updated_at: Timestamp,
        /// Counts changes, from 1.
        fix version: i64,
    }
}

/// Adds a binding; one per pipeline, place and connection.
pub async fn create(on: impl Into<On<'_>>, record: &BindingRecord) -> Result<()> {
    on.into().insert(record).await
}

/// Finds a binding.
pub async fn find(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &BindingId,
) -> Result<Option<BindingRecord>> {
    on.into().select_one("WHERE organization_id = $1 AND id = $2", params![organization, id]).await
}

/// Finds the binding of one place to one connection.
pub async fn find_by_place(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    pipeline: &PipelineId,
    place: &str,
    connection: &ConnectionId,
) -> Result<Option<BindingRecord>> {
    on.into()
        .select_one(
            "WHERE organization_id = $1 AND pipeline_id = $2 AND place = $3 \
             AND connection_id = $4",
            params![organization, pipeline, place, connection],
        )
        .await
}

/// Lists the bindings of a pipeline, by place.
pub async fn list_by_pipeline(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    pipeline: &PipelineId,
) -> Result<Vec<BindingRecord>> {
    on.into()
        .select(
            "WHERE organization_id = $1 AND pipeline_id = $2 ORDER BY place, connection_id",
            params![organization, pipeline],
        )
        .await
}

/// Lists the bindings to a connection, oldest first; at most `limit`.
pub async fn list_by_connection(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    connection: &ConnectionId,
    limit: u32,
) -> Result<Vec<BindingRecord>> {
    on.into()
        .select(
            "WHERE organization_id = $1 AND connection_id = $2 ORDER BY id LIMIT $3",
            params![organization, connection, i64::from(limit)],
        )
        .await
}

/// Changes a binding; returns the new version.
pub async fn update(on: impl Into<On<'_>>, record: &BindingRecord) -> Result<i64> {
    on.into().save(record).await
}

/// Marks every binding to a connection as broken, with the reason; returns them as they are then.
pub async fn break_by_connection(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    connection: &ConnectionId,
    reason: &str,
    now: Timestamp,
) -> Result<Vec<BindingRecord>> {
    on.into()
        .update_returning(
            "SET state = 'broken', reason = $3, updated_at = $4, version = version + 1 \
             WHERE organization_id = $1 AND connection_id = $2 AND state <> 'broken'",
            params![organization, connection, reason, now],
        )
        .await
}

/// Removes the bindings of a pipeline that revision `current` no longer has; returns how many.
pub async fn delete_before_revision(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    pipeline: &PipelineId,
    current: i64,
) -> Result<u64> {
    let sql = "DELETE FROM bindings \
               WHERE organization_id = $1 AND pipeline_id = $2 AND revision < $3";
    on.into().execute(sql.to_owned(), params![organization, pipeline, current]).await
}
