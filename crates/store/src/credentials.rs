//! Credentials and their sealed versions. `sealed` is opaque here: only `vault` opens it.
//!
//! A credential's `version` counts changes of the row, as everywhere; what it consists of is
//! numbered separately (`number`), from 1.

use std::collections::BTreeMap;
use std::time::Duration;

use keyferry_domain::Timestamp;
use keyferry_domain::credential::{CredentialKind, VersionState};
use keyferry_domain::id::{CredentialId, OrganizationId, UserId};
use keyferry_domain::page::{Page, PageRequest};

use crate::database::On;
use crate::error::{Result, StoreError};
use crate::record::{Filter, page, record};
use crate::row::params;

/// How long a version outlives its time at most, to take back with it what was minted. A service
/// that is away for longer keeps it, and that is shown as residue.
const LONGEST_TAKING_BACK: Duration = Duration::from_hours(24);

record! {
    /// A credential without its secrets.
    pub struct CredentialRecord in "credentials" as "credential" {
        /// The organization.
        key organization_id: OrganizationId,
        /// Its id.
        key id: CredentialId,
        /// Its name.
        set name: String,
        /// What it consists of.
        fix kind: CredentialKind,
        /// The person it belongs to.
        set owner_id: UserId,
        /// The number of the current version; [`replace`] and [`roll_back`] change it.
        fix current_number: i64,
        /// When it was made.
        fix created_at: Timestamp,
        /// When it was last changed.
        set updated_at: Timestamp,
        /// Since when it is gone.
        fix deleted_at: Option<Timestamp>,
        /// Counts changes, from 1.
        fix version: i64,
    }
}

record! {
    /// One version of a credential.
    pub struct CredentialVersionRecord in "credential_versions" as "credential version" {
        /// The organization.
        key organization_id: OrganizationId,
        /// The credential.
        key credential_id: CredentialId,
        /// Counts versions, from 1.
        key number: i64,
        /// Its fields that are not secret.
        fix public_fields: BTreeMap<String, String>,
        /// The names of its secret values and files, for kinds where people choose them.
        fix value_names: Vec<String>,
        /// The sealed secrets; absent once wiped.
        fix sealed: Option<String>,
        /// The root key that they are sealed under.
        fix root_key: Option<String>,
        /// Who entered it: an actor's id.
        fix created_by: String,
        /// When.
        fix created_at: Timestamp,
        /// Set when it was replaced: until when it can be used and made current again.
        fix previous_until: Option<Timestamp>,
        /// When it was wiped.
        fix retired_at: Option<Timestamp>,
    }
}

impl CredentialVersionRecord {
    /// Returns where this version stands.
    pub const fn state(&self) -> VersionState {
        match (self.retired_at, self.previous_until) {
            (Some(at), _) => VersionState::Retired { at },
            (None, Some(until)) => VersionState::Previous { until },
            (None, None) => VersionState::Current,
        }
    }
}

/// Adds a credential with its first version, both in one transaction.
pub async fn create(
    on: impl Into<On<'_>>,
    record: &CredentialRecord,
    first: &CredentialVersionRecord,
) -> Result<()> {
    let mut on = on.into().together().await?;
    on.insert(record).await?;
    on.insert(first).await?;
    on.finish().await
}

/// Finds a credential that is not deleted.
pub async fn find(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &CredentialId,
) -> Result<Option<CredentialRecord>> {
    on.into()
        .select_one(
            "WHERE organization_id = $1 AND id = $2 AND deleted_at IS NULL",
            params![organization, id],
        )
        .await
}

/// Finds a credential, a deleted one too: for revocations that still need it.
pub async fn find_with_deleted(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &CredentialId,
) -> Result<Option<CredentialRecord>> {
    on.into().select_one("WHERE organization_id = $1 AND id = $2", params![organization, id]).await
}

/// Lists the versions of a credential, newest first.
pub async fn versions(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &CredentialId,
) -> Result<Vec<CredentialVersionRecord>> {
    on.into()
        .select(
            "WHERE organization_id = $1 AND credential_id = $2 ORDER BY number DESC",
            params![organization, id],
        )
        .await
}

/// Finds one version of a credential; also of a deleted one, for revocations that still need it.
pub async fn find_version(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    id: &CredentialId,
    number: i64,
) -> Result<Option<CredentialVersionRecord>> {
    on.into()
        .select_one(
            "WHERE organization_id = $1 AND credential_id = $2 AND number = $3",
            params![organization, id, number],
        )
        .await
}

/// Lists credentials that are not deleted, oldest first; of one owner when given.
pub async fn list(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    owner: Option<&UserId>,
    request: &PageRequest,
) -> Result<Page<CredentialRecord>> {
    let mut filter = Filter::organization(organization);
    filter.equal_if("owner_id", owner);
    filter.fixed("deleted_at IS NULL");
    let filter = filter.ascending("id", request);
    page(&mut on.into(), filter, request, |record: &CredentialRecord| record.id.to_string()).await
}

/// Changes name or owner; returns the new version.
pub async fn update(on: impl Into<On<'_>>, record: &CredentialRecord) -> Result<i64> {
    on.into().save_where(record, " AND deleted_at IS NULL", Vec::new()).await
}

/// Makes `next` the current version; the one before stays usable until `previous_until`, and
/// any still older one ends now. `next.number` must be one more than the highest. Returns the
/// credential's new `version`.
pub async fn replace(
    on: impl Into<On<'_>>,
    record: &CredentialRecord,
    next: &CredentialVersionRecord,
    previous_until: Timestamp,
) -> Result<i64> {
    let mut on = on.into().together().await?;
    let version = set_current(&mut on, record, next.number, next.created_at).await?;
    let sql = "UPDATE credential_versions SET previous_until = $3 WHERE organization_id = $1 \
               AND credential_id = $2 AND retired_at IS NULL AND previous_until IS NOT NULL";
    let older = params![record.organization_id, record.id, next.created_at];
    on.execute(sql.to_owned(), older).await?;
    let sql = "UPDATE credential_versions SET previous_until = $4 WHERE organization_id = $1 \
               AND credential_id = $2 AND number = $3 AND retired_at IS NULL";
    let params = params![record.organization_id, record.id, record.current_number, previous_until];
    on.execute(sql.to_owned(), params).await?;
    on.insert(next).await?;
    on.finish().await?;
    Ok(version)
}

/// Makes a previous version current again, while its overlap lasts; the one that was current
/// stays usable until `previous_until`. Returns the credential's new `version`, or
/// [`StoreError::Stale`] also when the version is wiped or its time is up.
pub async fn roll_back(
    on: impl Into<On<'_>>,
    record: &CredentialRecord,
    number: i64,
    now: Timestamp,
    previous_until: Timestamp,
) -> Result<i64> {
    let mut on = on.into().together().await?;
    let version = set_current(&mut on, record, number, now).await?;
    let sql = "UPDATE credential_versions SET previous_until = NULL WHERE organization_id = $1 \
               AND credential_id = $2 AND number = $3 AND retired_at IS NULL \
               AND previous_until > $4";
    let params = params![record.organization_id, record.id, number, now];
    if on.execute(sql.to_owned(), params).await? == 0 {
        // Only an own transaction is undone by this; a caller's must not be committed.
        return Err(StoreError::Stale {
            what: "credential version",
            current_version: Some(record.version),
        });
    }
    let sql = "UPDATE credential_versions SET previous_until = $4 WHERE organization_id = $1 \
               AND credential_id = $2 AND number = $3 AND retired_at IS NULL";
    let params = params![record.organization_id, record.id, record.current_number, previous_until];
    on.execute(sql.to_owned(), params).await?;
    on.finish().await?;
    Ok(version)
}

async fn set_current(
    on: &mut On<'_>,
    record: &CredentialRecord,
    number: i64,
    now: Timestamp,
) -> Result<i64> {
    let rows: Vec<CredentialRecord> = on
        .update_returning(
            "SET current_number = $4, updated_at = $5, version = version + 1 \
             WHERE organization_id = $1 AND id = $2 AND version = $3 AND deleted_at IS NULL",
            params![record.organization_id, record.id, record.version, number, now],
        )
        .await?;
    match rows.first() {
        Some(row) => Ok(row.version),
        None => Err(on.stale(record).await?),
    }
}

/// Wipes the replaced versions whose time is up, over all organizations; returns them as they
/// are then, at most `limit`. One with which something was minted that is not taken back yet is
/// kept for that, up to a day longer.
pub async fn retire_due(
    on: impl Into<On<'_>>,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<CredentialVersionRecord>> {
    on.into()
        .update_returning(
            "SET sealed = NULL, root_key = NULL, retired_at = $1 \
             WHERE retired_at IS NULL AND previous_until <= $1 \
             AND (organization_id, credential_id, number) IN \
             (SELECT organization_id, credential_id, number FROM credential_versions AS due \
              WHERE retired_at IS NULL AND previous_until <= $1 \
              AND (previous_until <= $3 OR NOT EXISTS (SELECT 1 FROM leases \
               WHERE leases.organization_id = due.organization_id \
               AND leases.credential_id = due.credential_id \
               AND leases.credential_version = due.number \
               AND leases.handle IS NOT NULL AND leases.state <> 'ended')) \
              ORDER BY previous_until LIMIT $2)",
            params![now, i64::from(limit), now.minus(LONGEST_TAKING_BACK)],
        )
        .await
}

/// Marks a credential as gone; its versions are wiped by [`retire_due`] from `wipe_at` on, once
/// what was minted with them is taken back. Returns the new version.
pub async fn delete(
    on: impl Into<On<'_>>,
    record: &CredentialRecord,
    now: Timestamp,
    wipe_at: Timestamp,
) -> Result<i64> {
    let mut on = on.into().together().await?;
    let rows: Vec<CredentialRecord> = on
        .update_returning(
            "SET deleted_at = $4, updated_at = $4, version = version + 1 \
             WHERE organization_id = $1 AND id = $2 AND version = $3 AND deleted_at IS NULL",
            params![record.organization_id, record.id, record.version, now],
        )
        .await?;
    let Some(row) = rows.first() else {
        return Err(on.stale(record).await?);
    };
    let sql = "UPDATE credential_versions SET previous_until = $3 \
               WHERE organization_id = $1 AND credential_id = $2 AND retired_at IS NULL";
    on.execute(sql.to_owned(), params![record.organization_id, record.id, wipe_at]).await?;
    on.finish().await?;
    Ok(row.version)
}

/// Lists sealed versions under other root keys than this one, over all organizations, for
/// rewrapping; at most `limit`.
pub async fn list_to_reseal(
    on: impl Into<On<'_>>,
    root_key: &str,
    limit: u32,
) -> Result<Vec<CredentialVersionRecord>> {
    on.into()
        .select(
            "WHERE root_key IS NOT NULL AND root_key <> $1 AND retired_at IS NULL \
             ORDER BY organization_id, credential_id, number LIMIT $2",
            params![root_key, i64::from(limit)],
        )
        .await
}

/// Puts the same secrets, sealed anew, in place of `record.sealed`; `false` when these have
/// changed in the meantime.
pub async fn reseal(
    on: impl Into<On<'_>>,
    record: &CredentialVersionRecord,
    sealed: &str,
    root_key: &str,
) -> Result<bool> {
    let sql = "UPDATE credential_versions SET sealed = $5, root_key = $6 \
               WHERE organization_id = $1 AND credential_id = $2 AND number = $3 AND sealed = $4";
    let params = params![
        record.organization_id,
        record.credential_id,
        record.number,
        record.sealed,
        sealed,
        root_key
    ];
    Ok(on.into().execute(sql.to_owned(), params).await? > 0)
}
