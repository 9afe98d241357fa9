//! Reading the audit record. It is written by [`crate::Journal`] only; nothing changes or deletes
//! a line. Whether the chain holds is verified by `vault`, with what [`read_chain`] gives.

use keyferry_domain::Timestamp;
use keyferry_domain::audit::{AuditEvent, Outcome};
use keyferry_domain::id::{OrganizationId, RequestId};
use keyferry_domain::page::{Page, PageRequest};

use crate::database::On;
use crate::error::Result;
use crate::record::{Filter, Part, Record, chain_cursor, page};
use crate::row::{Param, Row, params, to_json};

/// The hash before the first event of a chain.
pub const FIRST_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One line of the record, in its place in its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// The chain: one per database file, one per server on PostgreSQL.
    pub chain: String,
    /// Counts the chain's events, from 1, without a gap; 0 as long as it has no place.
    pub sequence: i64,
    /// The event.
    pub event: AuditEvent,
    /// The event as it was hashed, byte for byte; see [`canonical`].
    pub canonical: String,
    /// The hash of the event before, or [`FIRST_HASH`].
    pub previous_hash: String,
    /// The hash of `previous_hash` and `canonical`.
    pub hash: String,
}

/// The last sequence number of a chain, and its hash.
pub(crate) type Head = (i64, String);

impl AuditRecord {
    /// Makes the record of an event whose place in the chain is not known yet.
    pub(crate) fn without_place(chain: &str, event: AuditEvent) -> Self {
        Self {
            chain: chain.to_owned(),
            sequence: 0,
            canonical: canonical(&event),
            event,
            previous_hash: String::new(),
            hash: String::new(),
        }
    }

    /// Returns where the chain ends when this is its last event.
    pub(crate) fn end(&self) -> Head {
        (self.sequence, self.hash.clone())
    }
}

/// Returns an event as it is hashed and stored: JSON with the fields in order of declaration.
/// NUL is replaced, since PostgreSQL has no place for it.
pub fn canonical(event: &AuditEvent) -> String {
    let json = to_json(event);
    if json.contains("\\u0000") { to_json(&without_nul(event)) } else { json }
}

fn without_nul(event: &AuditEvent) -> AuditEvent {
    let clean = |text: &String| text.replace('\0', "\u{fffd}");
    let mut event = event.clone();
    event.address = event.address.as_ref().map(clean);
    event.reason = event.reason.as_ref().map(clean);
    event.action = clean(&event.action);
    event.actor.kind = clean(&event.actor.kind);
    event.actor.id = event.actor.id.as_ref().map(clean);
    event.actor.via = event.actor.via.as_ref().map(clean);
    if let Some(target) = &mut event.target {
        target.kind = clean(&target.kind);
        target.id = clean(&target.id);
    }
    event.data = event.data.iter().map(|(key, value)| (clean(key), clean(value))).collect();
    event
}

impl Record for AuditRecord {
    const TABLE: &'static str = "audit_events";
    const WHAT: &'static str = "audit event";
    const COLUMNS: &'static str = "chain, sequence, id, organization_id, at, actor_id, action, \
        target_kind, target_id, outcome, request_id, event, previous_hash, hash";
    const PARTS: &'static [(&'static str, Part)] = &[
        ("chain", Part::Key),
        ("sequence", Part::Key),
        ("id", Part::Fix),
        ("organization_id", Part::Fix),
        ("at", Part::Fix),
        ("actor_id", Part::Fix),
        ("action", Part::Fix),
        ("target_kind", Part::Fix),
        ("target_id", Part::Fix),
        ("outcome", Part::Fix),
        ("request_id", Part::Fix),
        ("event", Part::Fix),
        ("previous_hash", Part::Fix),
        ("hash", Part::Fix),
    ];

    fn from_row(row: &Row) -> Result<Self> {
        let canonical: String = row.get("event")?;
        let event = serde_json::from_str(&canonical).map_err(|_| row.corrupt("event"))?;
        check_columns(row, &event)?;
        Ok(Self {
            chain: row.get("chain")?,
            sequence: row.get("sequence")?,
            event,
            canonical,
            previous_hash: row.get("previous_hash")?,
            hash: row.get("hash")?,
        })
    }

    fn params(&self) -> Vec<Param> {
        let event = &self.event;
        params![
            self.chain,
            self.sequence,
            event.id,
            event.organization,
            event.at,
            event.actor.id,
            event.action,
            event.target.as_ref().map(|target| target.kind.as_str()),
            event.target.as_ref().map(|target| target.id.as_str()),
            event.outcome,
            event.request,
            self.canonical,
            self.previous_hash,
            self.hash
        ]
    }
}

/// Refuses a line whose columns say something else than its event. Lists are made by the columns
/// and only the event is hashed, so an edited column would hide an event or show it to others.
fn check_columns(row: &Row, event: &AuditEvent) -> Result<()> {
    let target = event.target.as_ref();
    let texts = [
        ("id", Some(event.id.as_str())),
        ("organization_id", event.organization.as_ref().map(OrganizationId::as_str)),
        ("actor_id", event.actor.id.as_deref()),
        ("action", Some(event.action.as_str())),
        ("target_kind", target.map(|target| target.kind.as_str())),
        ("target_id", target.map(|target| target.id.as_str())),
        ("outcome", Some(event.outcome.as_str())),
        ("request_id", Some(event.request.as_str())),
    ];
    for (column, said) in texts {
        // NUL is replaced in the event alone, where the engine has a place for it.
        let written = row.text(column)?.map(|text| text.replace('\0', "\u{fffd}"));
        if written.as_deref() != said {
            return Err(row.corrupt(column));
        }
    }
    if row.int("at")? != Some(event.at.millis()) {
        return Err(row.corrupt("at"));
    }
    Ok(())
}

/// Which events are wanted; each part narrows the list.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// With exactly this action.
    pub action: Option<String>,
    /// By this person, job, workload or runner.
    pub actor_id: Option<String>,
    /// About this thing.
    pub target_id: Option<String>,
    /// That ended so.
    pub outcome: Option<Outcome>,
    /// In this request.
    pub request: Option<RequestId>,
    /// At this moment or later.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

/// Lists events of an organization, newest first; with `None` those of the server as a whole.
/// Those of one millisecond are in the order of their chain, chain by chain.
pub async fn list(
    on: impl Into<On<'_>>,
    organization: Option<&OrganizationId>,
    wanted: &AuditFilter,
    request: &PageRequest,
) -> Result<Page<AuditRecord>> {
    let mut filter = Filter::default();
    match organization {
        Some(organization) => filter.equal("organization_id", organization),
        None => filter.fixed("organization_id IS NULL"),
    }
    filter.equal_if("action", wanted.action.as_ref());
    if wanted.action.as_deref().is_some_and(|action| action != "lease.issue") {
        // Said again, since an engine cannot know that a value bound later fits its partial index.
        filter.fixed("action <> 'lease.issue'");
    }
    filter.equal_if("actor_id", wanted.actor_id.as_ref());
    filter.equal_if("target_id", wanted.target_id.as_ref());
    filter.equal_if("outcome", wanted.outcome.as_ref());
    filter.equal_if("request_id", wanted.request.as_ref());
    if let Some(since) = &wanted.since {
        filter.with("at >= ?", since);
    }
    if let Some(until) = &wanted.until {
        filter.with("at < ?", until);
    }
    let filter = filter.descending_by_chain(request)?;
    page(&mut on.into(), filter, request, |record: &AuditRecord| {
        chain_cursor(record.event.at, &record.chain, record.sequence)
    })
    .await
}

/// Lists the chains.
pub async fn chains(on: impl Into<On<'_>>) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT chain FROM audit_events ORDER BY chain";
    let rows = on.into().query("audit_events", sql.to_owned(), Vec::new()).await?;
    rows.iter().map(|row| row.get("chain")).collect()
}

/// Reads a chain in its order, after a sequence number (0 for all), at most `limit`.
pub async fn read_chain(
    on: impl Into<On<'_>>,
    chain: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<AuditRecord>> {
    on.into()
        .select(
            "WHERE chain = $1 AND sequence > $2 ORDER BY sequence LIMIT $3",
            params![chain, after, i64::from(limit)],
        )
        .await
}

/// Returns the last sequence number of a chain and its hash; 0 and [`FIRST_HASH`] for an empty one.
pub async fn head(on: impl Into<On<'_>>, chain: &str) -> Result<(i64, String)> {
    read_head(&mut on.into(), chain).await
}

pub(crate) async fn read_head(on: &mut On<'_>, chain: &str) -> Result<Head> {
    let sql = "SELECT sequence, hash FROM audit_events \
               WHERE chain = $1 ORDER BY sequence DESC LIMIT 1";
    let rows = on.query("audit_events", sql.to_owned(), params![chain]).await?;
    match rows.first() {
        Some(row) => Ok((row.get("sequence")?, row.get("hash")?)),
        None => Ok((0, FIRST_HASH.to_owned())),
    }
}
