//! Leases: rows that exist before the outside token does, and until nothing of it is left.
//!
//! New ones are written by [`crate::Journal`], together with their audit event. What a lease may
//! become is decided by `domain::lease`; the sweeping functions here follow the same rules in SQL.

use keyferry_domain::Timestamp;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{LeaseId, OrganizationId};
use keyferry_domain::lease::{EndReason, Holder, Lease, LeaseState};
use keyferry_domain::page::{Page, PageRequest};

use crate::database::On;
use crate::error::Result;
use crate::record::{Filter, Part, Record, page};
use crate::row::{Param, Row, params};

/// A lease as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    /// The lease.
    pub lease: Lease,
    /// When its revocation is next tried; set while it is ending.
    pub due_at: Option<Timestamp>,
    /// Counts changes, from 1.
    pub version: i64,
}

impl LeaseRecord {
    /// A lease as it is first stored.
    pub const fn new(lease: Lease) -> Self {
        Self { lease, due_at: None, version: 1 }
    }
}

impl Record for LeaseRecord {
    const TABLE: &'static str = "leases";
    const WHAT: &'static str = "lease";
    const COLUMNS: &'static str = "organization_id, id, connection_id, credential_id, \
        credential_version, holder_kind, holder_id, run_id, operation, narrowing, handle, \
        settings, issued_at, expires_at, handed_over_at, state, ending_since, ended_at, end_reason, residue, attempts, \
        last_error, due_at, version";
    const PARTS: &'static [(&'static str, Part)] = &[
        ("organization_id", Part::Key),
        ("id", Part::Key),
        ("connection_id", Part::Fix),
        ("credential_id", Part::Fix),
        ("credential_version", Part::Fix),
        ("holder_kind", Part::Fix),
        ("holder_id", Part::Fix),
        ("run_id", Part::Fix),
        ("operation", Part::Fix),
        ("narrowing", Part::Fix),
        ("handle", Part::Fix),
        ("settings", Part::Fix),
        ("issued_at", Part::Fix),
        ("expires_at", Part::Set),
        ("handed_over_at", Part::Set),
        ("state", Part::Set),
        ("ending_since", Part::Set),
        ("ended_at", Part::Set),
        ("end_reason", Part::Set),
        ("residue", Part::Set),
        ("attempts", Part::Set),
        ("last_error", Part::Set),
        ("due_at", Part::Set),
        ("version", Part::Fix),
    ];

    fn from_row(row: &Row) -> Result<Self> {
        let holder = match row.get::<String>("holder_kind")?.as_str() {
            "job" => Holder::Job { run: row.get("run_id")?, job: row.get("holder_id")? },
            "workload" => Holder::Workload { workload: row.get("holder_id")? },
            _ => return Err(row.corrupt("holder_kind")),
        };
        let state = match row.get::<String>("state")?.as_str() {
            "pending" => LeaseState::Pending,
            "active" => LeaseState::Active,
            "ending" => LeaseState::Ending {
                since: row.get("ending_since")?,
                reason: row.get("end_reason")?,
            },
            "ended" => {
                LeaseState::Ended { at: row.get("ended_at")?, reason: row.get("end_reason")? }
            }
            _ => return Err(row.corrupt("state")),
        };
        let lease = Lease {
            id: row.get("id")?,
            organization: row.get("organization_id")?,
            connection: row.get("connection_id")?,
            credential: row.get("credential_id")?,
            credential_version: row.get("credential_version")?,
            holder,
            operation: row.get("operation")?,
            narrowing: row.get("narrowing")?,
            handle: row.get("handle")?,
            settings: row.get("settings")?,
            issued_at: row.get("issued_at")?,
            expires_at: row.get("expires_at")?,
            handed_over_at: row.get("handed_over_at")?,
            state,
            residue: row.get("residue")?,
            attempts: row.get("attempts")?,
            last_error: row.get("last_error")?,
        };
        Ok(Self { lease, due_at: row.get("due_at")?, version: row.get("version")? })
    }

    fn params(&self) -> Vec<Param> {
        let lease = &self.lease;
        let (holder_kind, run) = match &lease.holder {
            Holder::Job { run, .. } => ("job", Some(run)),
            Holder::Workload { .. } => ("workload", None),
        };
        let (since, at, reason) = match lease.state {
            LeaseState::Pending | LeaseState::Active => (None, None, None),
            LeaseState::Ending { since, reason } => (Some(since), None, Some(reason)),
            LeaseState::Ended { at, reason } => (None, Some(at), Some(reason)),
        };
        params![
            lease.organization,
            lease.id,
            lease.connection,
            lease.credential,
            lease.credential_version,
            holder_kind,
            lease.holder.id(),
            run,
            lease.operation,
            lease.narrowing,
            lease.handle,
            lease.settings,
            lease.issued_at,
            lease.expires_at,
            lease.handed_over_at,
            lease.state.as_str(),
            since,
            at,
            reason,
            lease.residue,
            lease.attempts,
            lease.last_error,
            self.due_at,
            self.version
        ]
    }
}

/// Finds a lease.
pub async fn find(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &LeaseId,
) -> Result<Option<LeaseRecord>> {
    on.into().select_one("WHERE organization_id = $1 AND id = $2", params![organization, id]).await
}

/// Which leases are wanted; each part narrows the list.
#[derive(Debug, Clone, Default)]
pub struct LeaseFilter {
    /// Of this connection.
    pub connection: Option<ConnectionId>,
    /// Of this job or workload.
    pub holder: Option<String>,
    /// In this state: `pending`, `active`, `ending`, `ended`.
    pub state: Option<String>,
    /// Not ended yet.
    pub is_live: bool,
}

/// Lists leases, newest first.
pub async fn list(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    wanted: &LeaseFilter,
    request: &PageRequest,
) -> Result<Page<LeaseRecord>> {
    let mut filter = Filter::organization(organization);
    filter.equal_if("connection_id", wanted.connection.as_ref());
    filter.equal_if("holder_id", wanted.holder.as_ref());
    filter.equal_if("state", wanted.state.as_ref());
    if wanted.is_live {
        filter.fixed("state <> 'ended'");
    }
    let filter = filter.descending("id", request);
    page(&mut on.into(), filter, request, |record: &LeaseRecord| record.lease.id.to_string()).await
}

/// Lists the leases of a job or workload that have ended, or are ending, before their time was up.
pub async fn list_cut_short(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    holder_id: &str,
    now: Timestamp,
) -> Result<Vec<LeaseId>> {
    let sql = "SELECT id FROM leases WHERE organization_id = $1 AND holder_id = $2 \
               AND state NOT IN ('pending', 'active') AND expires_at > $3 ORDER BY id";
    let params = params![organization, holder_id, now];
    let rows = on.into().query("leases", sql.to_owned(), params).await?;
    rows.iter().map(|row| row.get("id")).collect()
}

/// Writes state, expiry, hand-over, residue, attempts, last error and due time; returns the new version.
pub async fn update(on: impl Into<On<'_>>, record: &LeaseRecord) -> Result<i64> {
    on.into().save(record).await
}

/// What `Lease::end` does, for many rows: with a handle to `ending` and due now, else to `ended`.
/// `$1` is the time, `$2` the reason.
const END: &str = "SET \
     ending_since = CASE WHEN handle IS NULL THEN NULL ELSE $1 END, \
     ended_at = CASE WHEN handle IS NULL THEN $1 ELSE NULL END, \
     due_at = CASE WHEN handle IS NULL THEN NULL ELSE $1 END, \
     state = CASE WHEN handle IS NULL THEN 'ended' ELSE 'ending' END, \
     end_reason = $2, version = version + 1 \
     WHERE state IN ('pending', 'active')";

/// Starts the end of every live lease of a job or workload; returns them as they are then.
pub async fn end_by_holder(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    holder_id: &str,
    reason: EndReason,
    now: Timestamp,
) -> Result<Vec<LeaseRecord>> {
    on.into()
        .update_returning(
            &format!("{END} AND organization_id = $3 AND holder_id = $4"),
            params![now, reason, organization, holder_id],
        )
        .await
}

/// Starts the end of every live lease of a connection; returns them as they are then.
pub async fn end_by_connection(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    connection: &ConnectionId,
    reason: EndReason,
    now: Timestamp,
) -> Result<Vec<LeaseRecord>> {
    on.into()
        .update_returning(
            &format!("{END} AND organization_id = $3 AND connection_id = $4"),
            params![now, reason, organization, connection],
        )
        .await
}

/// Starts the end of leases whose time is up, over all organizations; returns them as they are
/// then, at most `limit`.
pub async fn end_expired(
    on: impl Into<On<'_>>,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<LeaseRecord>> {
    on.into()
        .update_returning(
            &format!(
                "{END} AND expires_at <= $1 AND (organization_id, id) IN \
                 (SELECT organization_id, id FROM leases WHERE state IN ('pending', 'active') \
                  AND expires_at <= $1 ORDER BY expires_at LIMIT $3)"
            ),
            params![now, EndReason::Expired, i64::from(limit)],
        )
        .await
}

/// Starts the end of leases that were never handed over although they were issued before
/// `before`, over all organizations: a server died while it minted. At most `limit`.
pub async fn end_abandoned(
    on: impl Into<On<'_>>,
    before: Timestamp,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<LeaseRecord>> {
    on.into()
        .update_returning(
            &format!(
                "{END} AND state = 'pending' AND issued_at < $3 AND (organization_id, id) IN \
                 (SELECT organization_id, id FROM leases WHERE state = 'pending' \
                  AND issued_at < $3 ORDER BY issued_at LIMIT $4)"
            ),
            params![now, EndReason::MintFailed, before, i64::from(limit)],
        )
        .await
}

/// A connection of an organization, as the key of what is under way there.
pub type ConnectionKey = (OrganizationId, ConnectionId);

/// Claims ending leases whose revocation is due, over all organizations, until `retry_at`: no
/// other server gets them before, and if this one dies they come up again. At most `limit`, of
/// each connection at most `per_connection`, and none of those that are `busy`, so that a service
/// that does not answer keeps nobody else's waiting. Then [`update`] with the outcome.
pub async fn claim_due(
    on: impl Into<On<'_>>,
    now: Timestamp,
    retry_at: Timestamp,
    limit: u32,
    per_connection: u32,
    busy: &[ConnectionKey],
) -> Result<Vec<LeaseRecord>> {
    let mut params = params![now, retry_at, i64::from(limit), i64::from(per_connection)];
    let mut others = Vec::with_capacity(busy.len());
    for (organization, connection) in busy {
        params.extend(params![organization, connection]);
        let place = params.len();
        others.push(format!(
            " AND NOT (organization_id = ${} AND connection_id = ${place})",
            place - 1
        ));
    }
    let others = others.concat();
    on.into()
        .update_returning(
            &format!(
                "SET due_at = $2, version = version + 1 WHERE state = 'ending' AND due_at <= $1 \
                 AND (organization_id, id) IN (SELECT organization_id, id FROM \
                  (SELECT organization_id, id, due_at, ROW_NUMBER() OVER \
                    (PARTITION BY organization_id, connection_id ORDER BY due_at, id) AS place \
                   FROM leases WHERE state = 'ending' AND due_at <= $1{others}) AS due \
                  WHERE place <= $4 ORDER BY due_at LIMIT $3)"
            ),
            params,
        )
        .await
}
