//! Connections: the named links to outside services. Who is in a custom scope is in
//! `connection_members`. A deleted connection leaves its row, so that its ID is never used again.

use std::collections::BTreeMap;

use keyferry_domain::connection::{ConnectionId, Health, HealthStatus};
use keyferry_domain::id::{CredentialId, OrganizationId, UserId};
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::{Scope, Timestamp};

use crate::database::On;
use crate::error::Result;
use crate::record::{Filter, name_cursor, page, record};
use crate::row::params;

record! {
    /// A connection.
    pub struct ConnectionRecord in "connections" as "connection" {
        /// The organization.
        key organization_id: OrganizationId,
        /// The connection ID that pipelines write.
        key id: ConnectionId,
        /// Its name.
        set name: String,
        /// Its name without case, for order and search; [`crate::fold`] makes it.
        set name_folded: String,
        /// The connection type's name.
        fix connection_type: String,
        /// The settings by field.
        set settings: BTreeMap<String, String>,
        /// The credential it stands on.
        set credential_id: CredentialId,
        /// The person it belongs to.
        set owner_id: UserId,
        /// Who may use it.
        set scope: Scope,
        /// What the last check found; see [`ConnectionRecord::health`].
        set health_status: HealthStatus,
        /// Why, for a person.
        set health_reason: Option<String>,
        /// The setting that is wrong.
        set health_field: Option<String>,
        /// When it was last checked.
        set checked_at: Option<Timestamp>,
        /// When the next check is due.
        set next_check_at: Option<Timestamp>,
        /// When a lease was last issued; [`touch`] writes it.
        fix last_used_at: Option<Timestamp>,
        /// When it was made.
        fix created_at: Timestamp,
        /// When a person last changed it.
        set updated_at: Timestamp,
        /// Since when it is gone; [`delete`] writes it.
        fix deleted_at: Option<Timestamp>,
        /// Counts changes, from 1.
        fix version: i64,
    }
}

impl ConnectionRecord {
    /// Returns what the last check found.
    pub fn health(&self) -> Health {
        Health {
            status: self.health_status,
            reason: self.health_reason.clone(),
            field: self.health_field.clone(),
            checked_at: self.checked_at,
        }
    }

    /// Writes what a check found into the record.
    pub fn set_health(&mut self, health: Health) {
        self.health_status = health.status;
        self.health_reason = health.reason;
        self.health_field = health.field;
        self.checked_at = health.checked_at;
    }
}

/// Adds a connection; an ID that was ever used in the organization is refused.
pub async fn create(on: impl Into<On<'_>>, record: &ConnectionRecord) -> Result<()> {
    on.into().insert(record).await
}

/// Finds a connection that is not deleted.
pub async fn find(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &ConnectionId,
) -> Result<Option<ConnectionRecord>> {
    on.into()
        .select_one(
            "WHERE organization_id = $1 AND id = $2 AND deleted_at IS NULL",
            params![organization, id],
        )
        .await
}

/// Finds a connection, a deleted one too: for messages that name it, and for revocations that
/// still need its settings.
pub async fn find_with_deleted(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &ConnectionId,
) -> Result<Option<ConnectionRecord>> {
    on.into().select_one("WHERE organization_id = $1 AND id = $2", params![organization, id]).await
}

/// Which connections are wanted; each part narrows the list.
#[derive(Debug, Clone, Default)]
pub struct ConnectionFilter {
    /// Of this type.
    pub connection_type: Option<String>,
    /// On this credential.
    pub credential: Option<CredentialId>,
    /// Of this person.
    pub owner: Option<UserId>,
    /// With this scope.
    pub scope: Option<Scope>,
    /// With this health.
    pub health: Option<HealthStatus>,
    /// With this text in the name or the ID.
    pub search: Option<String>,
    /// Within whose scope this person is.
    pub visible_to: Option<UserId>,
}

/// A person is within a scope as owner, by a public scope, or by being chosen for a custom one,
/// in person or through a group.
const VISIBLE_TO: &str = "(scope = 'public' OR owner_id = ? OR (scope = 'custom' AND EXISTS \
     (SELECT 1 FROM connection_members m WHERE m.organization_id = connections.organization_id \
      AND m.connection_id = connections.id AND ((m.kind = 'user' AND m.member_id = ?) \
      OR (m.kind = 'group' AND EXISTS (SELECT 1 FROM group_members g \
          WHERE g.organization_id = m.organization_id AND g.group_id = m.member_id \
          AND g.user_id = ?))))))";

fn filter(organization: &OrganizationId, wanted: &ConnectionFilter) -> Filter {
    let mut filter = Filter::organization(organization);
    filter.fixed("deleted_at IS NULL");
    filter.equal_if("connection_type", wanted.connection_type.as_ref());
    filter.equal_if("credential_id", wanted.credential.as_ref());
    filter.equal_if("owner_id", wanted.owner.as_ref());
    filter.equal_if("scope", wanted.scope.as_ref());
    filter.equal_if("health_status", wanted.health.as_ref());
    filter.contains_if("(name_folded || ' ' || id)", wanted.search.as_deref());
    if let Some(user) = &wanted.visible_to {
        filter.with(VISIBLE_TO, user);
    }
    filter
}

/// Lists connections by name.
pub async fn list(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    wanted: &ConnectionFilter,
    request: &PageRequest,
) -> Result<Page<ConnectionRecord>> {
    let filter = filter(organization, wanted).ascending_by_name(request)?;
    page(&mut on.into(), filter, request, |record: &ConnectionRecord| {
        name_cursor(&record.name_folded, record.id.as_str())
    })
    .await
}

/// Lists IDs only, for the nearest names to a mistyped one; at most `limit`, of those within
/// whose scope the person is, when one is given.
pub async fn list_ids(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    visible_to: Option<&UserId>,
    limit: u32,
) -> Result<Vec<ConnectionId>> {
    let wanted = ConnectionFilter { visible_to: visible_to.cloned(), ..Default::default() };
    let request = PageRequest { limit: limit.saturating_sub(1), cursor: None };
    let (rest, params) = filter(organization, &wanted).ascending("id", &request);
    let sql = format!("SELECT id FROM connections {rest}");
    let rows = on.into().query("connections", sql, params).await?;
    rows.iter().map(|row| row.get("id")).collect()
}

/// Tells whether a person is within the scope of a connection that is not deleted.
pub async fn is_visible_to(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &ConnectionId,
    user: &UserId,
) -> Result<bool> {
    let wanted = ConnectionFilter { visible_to: Some(user.clone()), ..Default::default() };
    let mut filter = filter(organization, &wanted);
    filter.equal("id", id);
    let request = PageRequest { limit: 1, cursor: None };
    let (rest, params) = filter.ascending("id", &request);
    let sql = format!("SELECT id FROM connections {rest}");
    Ok(!on.into().query("connections", sql, params).await?.is_empty())
}

/// Changes a connection that is not deleted; returns the new version.
pub async fn update(on: impl Into<On<'_>>, record: &ConnectionRecord) -> Result<i64> {
    on.into().save_where(record, " AND deleted_at IS NULL", Vec::new()).await
}

/// Writes what a check found and when the next one is due, without counting as a change: only if
/// the record still has its version, and leaving it; `false` when it has moved on.
pub async fn set_health(
    on: impl Into<On<'_>>,
    record: &ConnectionRecord,
    health: &Health,
    next_check_at: Option<Timestamp>,
) -> Result<bool> {
    let sql = "UPDATE connections SET health_status = $4, health_reason = $5, health_field = $6, \
               checked_at = $7, next_check_at = $8 \
               WHERE organization_id = $1 AND id = $2 AND version = $3 AND deleted_at IS NULL";
    let params = params![
        record.organization_id,
        record.id,
        record.version,
        health.status,
        health.reason,
        health.field,
        health.checked_at,
        next_check_at
    ];
    Ok(on.into().execute(sql.to_owned(), params).await? > 0)
}

/// Writes down that a connection was used, at most once a minute.
pub async fn touch(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &ConnectionId,
    now: Timestamp,
) -> Result<()> {
    let sql = "UPDATE connections SET last_used_at = $3 WHERE organization_id = $1 AND id = $2 \
               AND (last_used_at IS NULL OR last_used_at < $4)";
    let before = now.minus(std::time::Duration::from_mins(1));
    on.into().execute(sql.to_owned(), params![organization, id, now, before]).await.map(drop)
}

/// Claims connections whose check is due, over all organizations, until `retry_at`: no other
/// server gets them before. At most `limit`.
pub async fn claim_due_checks(
    on: impl Into<On<'_>>,
    now: Timestamp,
    retry_at: Timestamp,
    limit: u32,
) -> Result<Vec<ConnectionRecord>> {
    on.into()
        .update_returning(
            "SET next_check_at = $2 WHERE deleted_at IS NULL AND next_check_at <= $1 \
             AND (organization_id, id) IN (SELECT organization_id, id FROM connections \
              WHERE deleted_at IS NULL AND next_check_at <= $1 ORDER BY next_check_at LIMIT $3)",
            params![now, retry_at, i64::from(limit)],
        )
        .await
}

/// Makes the first check of connections of these types that have none due at `at`, over all
/// organizations; returns how many there were, at most `limit`.
pub async fn schedule_checks(
    on: impl Into<On<'_>>,
    types: &[&str],
    at: Timestamp,
    limit: u32,
) -> Result<u64> {
    let mut params = params![at, i64::from(limit)];
    let mut numbers = Vec::new();
    for one in types {
        params.extend(params![(*one).to_owned()]);
        numbers.push(format!("${}", params.len()));
    }
    if numbers.is_empty() {
        return Ok(0);
    }
    let sql = format!(
        "UPDATE connections SET next_check_at = $1 WHERE next_check_at IS NULL \
         AND (organization_id, id) IN (SELECT organization_id, id FROM connections \
          WHERE deleted_at IS NULL AND next_check_at IS NULL AND connection_type IN ({}) LIMIT $2)",
        numbers.join(", ")
    );
    on.into().execute(sql, params).await
}

/// Marks a connection as gone and empties its custom scope; returns the new version.
pub async fn delete(
    on: impl Into<On<'_>>,
    record: &ConnectionRecord,
    now: Timestamp,
) -> Result<i64> {
    let mut on = on.into().together().await?;
    let rows: Vec<ConnectionRecord> = on
        .update_returning(
            "SET deleted_at = $4, updated_at = $4, next_check_at = NULL, version = version + 1 \
             WHERE organization_id = $1 AND id = $2 AND version = $3 AND deleted_at IS NULL",
            params![record.organization_id, record.id, record.version, now],
        )
        .await?;
    let Some(row) = rows.first() else {
        return Err(on.stale(record).await?);
    };
    let sql = "DELETE FROM connection_members WHERE organization_id = $1 AND connection_id = $2";
    on.execute(sql.to_owned(), params![record.organization_id, record.id]).await?;
    on.finish().await?;
    Ok(row.version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, StoreOptions};

    /// A page must not cost more as connections grow: no list reads or sorts what is not on it.
    #[tokio::test]
    async fn a_page_is_read_in_the_order_of_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("store.db").display());
        let store = Store::open(&url, StoreOptions::default()).await.unwrap();
        store.migrate().await.unwrap();
        let organization = "org_00000000000000000000000000".parse().unwrap();
        let user: UserId = "user_00000000000000000000000000".parse().unwrap();
        let credential = "cred_00000000000000000000000000".parse().unwrap();
        let every = ConnectionFilter::default;
        let wanted = [
            every(),
            ConnectionFilter { visible_to: Some(user.clone()), ..every() },
            ConnectionFilter { connection_type: Some("git".to_owned()), ..every() },
            ConnectionFilter { health: Some(HealthStatus::Rejected), ..every() },
            ConnectionFilter { credential: Some(credential), ..every() },
            ConnectionFilter { owner: Some(user), ..every() },
        ];
        let cursor = Some(name_cursor("the conn-010000", "conn-010000"));
        let request = PageRequest { limit: 50, cursor };
        for wanted in wanted {
            let (rest, params) =
                filter(&organization, &wanted).ascending_by_name(&request).unwrap();
            let sql = format!("EXPLAIN QUERY PLAN SELECT * FROM connections {rest}");
            let rows = On::from(&store).query("connections", sql, params).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get("detail").unwrap()).collect();
            assert!(plan[0].starts_with("SEARCH connections USING INDEX"), "{wanted:?}: {plan:?}");
            let is_sorted = plan.iter().any(|step| step.contains("TEMP B-TREE"));
            assert!(!is_sorted, "{wanted:?}: {plan:?}");
        }
    }
}
