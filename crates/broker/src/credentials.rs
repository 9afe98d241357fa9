//! Credentials: putting them in, seeing what is known of them, renaming, deleting, wiping.
//!
//! A secret goes in here and into `connections/`, and nowhere out: what is stored is opened in
//! `opened.rs`, for the length of one call of its service. Replacing one happens inside a
//! connection, in `connections/reconfigure.rs`, since it is tried there.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::credential::{CredentialKind, VersionState};
use keyferry_domain::id::{CredentialId, OrganizationId, UserId};
use keyferry_domain::page::{MAX_LIMIT, Page, PageRequest};
use keyferry_domain::secret::{SecretBytes, SecretString};
use keyferry_domain::{Actor, Error, ErrorKind, FieldError, Result, Timestamp};
use keyferry_policy::Action;
use keyferry_providers::OpenCredential;
use keyferry_providers::provider::CredentialForm;
use keyferry_providers::validate::{CredentialInput, validate_credential};
use keyferry_store::connections::ConnectionFilter;
pub use keyferry_store::credentials::CredentialRecord;
use keyferry_store::credentials::CredentialVersionRecord;
use keyferry_store::{On, connections, credentials, members};
use keyferry_vault::{CredentialSecrets, SealContext, SealError};

use crate::Broker;
use crate::access::Subject;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::names::check_name;

/// Versions that one sweep wipes at most.
const BATCH: u32 = 100;

/// What a person puts in.
#[derive(Debug, Clone)]
pub struct NewSecrets {
    /// What it consists of.
    pub kind: CredentialKind,
    /// Fields by name, public and secret alike.
    pub fields: BTreeMap<String, SecretString>,
    /// Files by name, in base64.
    pub files: BTreeMap<String, SecretString>,
}

/// A credential, without its secrets.
#[derive(Debug, Clone)]
pub struct CredentialDetails {
    /// The record.
    pub credential: CredentialRecord,
    /// The current version's fields that are not secret.
    pub public_fields: BTreeMap<String, String>,
    /// The current version's names of values and files.
    pub value_names: Vec<String>,
    /// Its versions, newest first.
    pub versions: Vec<VersionDetails>,
    /// The connections that stand on it.
    pub connections: Vec<ConnectionId>,
}

/// One version of a credential, without its secrets.
#[derive(Debug, Clone)]
pub struct VersionDetails {
    /// Counts from 1.
    pub number: i64,
    /// Where it stands.
    pub state: VersionState,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Broker {
    /// Stores a credential, sealed. Nobody is asked whether it works: that is done by the
    /// connections that will stand on it.
    pub async fn create_credential(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        name: &str,
        secrets: &NewSecrets,
    ) -> Result<CredentialDetails> {
        self.allow(actor, organization, Action::CredentialCreate, &Subject::Organization).await?;
        let owner = person(actor)?;
        let name = check_name("/name", name)?;
        let form = keyferry_providers::credentials::form(secrets.kind);
        let open = check_secrets(form, secrets, None)?;
        let (record, first) = self.new_credential(actor, organization, owner, name, &open)?;
        let mut change = self.store.begin().await.map_err(store_failed)?;
        credentials::create(&mut change, &record, &first).await.map_err(store_failed)?;
        let event = Event::done("credential.create", Target::new("credential", &record.id))
            .with("kind", record.kind);
        self.commit(change, actor, Some(organization), event).await?;
        self.credential_details(record).await
    }

    /// Lists credentials, oldest first: one's own, or all for those who may see all.
    pub async fn list_credentials(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<CredentialDetails>> {
        self.allow(actor, organization, Action::CredentialList, &Subject::Organization).await?;
        // Who may see the credential of somebody who has left may see each.
        let ownerless = Subject::Credential {
            credential: CredentialId::generate(&*self.clock, &*self.random),
            owner: None,
            is_deleted: false,
        };
        let sees_all = self.may(actor, organization, Action::CredentialRead, &ownerless).await?;
        let owner = if sees_all { None } else { Some(person(actor)?) };
        let found = credentials::list(&self.store, organization, owner, page)
            .await
            .map_err(store_failed)?;
        let mut items = Vec::with_capacity(found.items.len());
        for record in found.items {
            items.push(self.credential_details(record).await?);
        }
        Ok(Page { items, next_cursor: found.next_cursor })
    }

    /// Gets a credential, without its secrets.
    pub async fn get_credential(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &CredentialId,
    ) -> Result<CredentialDetails> {
        let record =
            self.allowed_credential(actor, organization, id, Action::CredentialRead).await?;
        self.credential_details(record).await
    }

    /// Renames a credential.
    pub async fn update_credential(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &CredentialId,
        name: &str,
        version: i64,
    ) -> Result<CredentialDetails> {
        let mut record =
            self.allowed_credential(actor, organization, id, Action::CredentialUpdate).await?;
        record.name = check_name("/name", name)?;
        record.version = version;
        record.updated_at = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        record.version = credentials::update(&mut change, &record).await.map_err(store_failed)?;
        let event = Event::done("credential.update", Target::new("credential", id));
        self.commit(change, actor, Some(organization), event).await?;
        self.credential_details(record).await
    }

    /// Deletes a credential that no connection stands on, and wipes its secrets with the next
    /// sweep, which comes within seconds.
    pub async fn delete_credential(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &CredentialId,
    ) -> Result<()> {
        let record =
            self.allowed_credential(actor, organization, id, Action::CredentialDelete).await?;
        let now = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let used_by = connections_on(&mut change, organization, id).await?;
        if !used_by.is_empty() {
            // On SQLite the transaction holds the one writer, which the record needs.
            drop(change);
            let event = Event::refused(
                "credential.delete",
                Target::new("credential", id),
                "connections stand on it",
            );
            self.record(actor, Some(organization), event).await?;
            let names = used_by.iter().map(ToString::to_string).collect();
            return Err(Error::conflict(
                "credential_in_use",
                "connections stand on this credential",
            )
            .used_by(names)
            .hint("delete them, or put another credential into them, first"));
        }
        credentials::delete(&mut change, &record, now, now).await.map_err(store_failed)?;
        let event = Event::done("credential.delete", Target::new("credential", id));
        self.commit(change, actor, Some(organization), event).await
    }

    /// Wipes the versions whose time is up; called by the server's loop.
    pub async fn sweep_credentials(&self, actor: &Actor) -> Result<()> {
        loop {
            let now = self.clock.now();
            let mut change = self.store.begin().await.map_err(store_failed)?;
            let wiped =
                credentials::retire_due(&mut change, now, BATCH).await.map_err(store_failed)?;
            if wiped.is_empty() {
                return Ok(());
            }
            let events = wiped.iter().map(|version| {
                let target = Target::new("credential", &version.credential_id);
                let event = Event::done("credential.wipe", target).with("number", version.number);
                (Some(&version.organization_id), event)
            });
            self.commit_all(change, actor, events.collect()).await?;
            if wiped.len() < BATCH as usize {
                return Ok(());
            }
        }
    }

    /// Finds a credential and asks whether the actor may do this with it. To somebody who may not
    /// see it, one that exists and one that does not look the same.
    pub(crate) async fn allowed_credential(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &CredentialId,
        action: Action,
    ) -> Result<CredentialRecord> {
        let record = credentials::find(&self.store, organization, id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::not_found(format!("credential `{id}`")))?;
        let subject = self.credential_subject(&record).await?;
        self.allow(actor, organization, action, &subject).await?;
        Ok(record)
    }

    /// Returns what the policies need to know of a credential. Somebody who has left the
    /// organization owns nothing in it any more.
    pub(crate) async fn credential_subject(&self, record: &CredentialRecord) -> Result<Subject> {
        let owner = members::find(&self.store, &record.organization_id, &record.owner_id)
            .await
            .map_err(store_failed)?;
        Ok(Subject::Credential {
            credential: record.id.clone(),
            owner: owner.map(|member| member.user_id),
            is_deleted: record.deleted_at.is_some(),
        })
    }

    /// Makes the records of a new credential, sealed.
    pub(crate) fn new_credential(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        owner: &UserId,
        name: String,
        open: &OpenCredential,
    ) -> Result<(CredentialRecord, CredentialVersionRecord)> {
        let now = self.clock.now();
        let record = CredentialRecord {
            organization_id: organization.clone(),
            id: CredentialId::generate(&*self.clock, &*self.random),
            name,
            kind: open.kind,
            owner_id: owner.clone(),
            current_number: 1,
            created_at: now,
            updated_at: now,
            deleted_at: None,
            version: 1,
        };
        let first = self.seal_version(actor, &record, 1, open)?;
        Ok((record, first))
    }

    /// Makes the record of a new version of a credential, sealed.
    pub(crate) fn seal_version(
        &self,
        actor: &Actor,
        credential: &CredentialRecord,
        number: i64,
        open: &OpenCredential,
    ) -> Result<CredentialVersionRecord> {
        let context = SealContext::credential(&credential.organization_id, &credential.id, number);
        let secrets =
            CredentialSecrets { secrets: open.secrets.clone(), files: open.files.clone() };
        let sealed = self.vault.seal_credential(&context, &secrets).map_err(seal_failed)?;
        let value_names = match open.kind {
            CredentialKind::Values => {
                open.secrets.keys().chain(open.files.keys()).cloned().collect()
            }
            _ => Vec::new(),
        };
        Ok(CredentialVersionRecord {
            organization_id: credential.organization_id.clone(),
            credential_id: credential.id.clone(),
            number,
            public_fields: open.public.clone(),
            value_names,
            sealed: Some(sealed),
            root_key: Some(self.vault.root_keys().current().id().to_owned()),
            created_by: actor.to_ref().id.unwrap_or_else(|| "system".to_owned()),
            created_at: self.clock.now(),
            previous_until: None,
            retired_at: None,
        })
    }

    async fn credential_details(&self, credential: CredentialRecord) -> Result<CredentialDetails> {
        let organization = &credential.organization_id;
        let mut versions = credentials::versions(&self.store, organization, &credential.id)
            .await
            .map_err(store_failed)?;
        let connections = connections_on(&self.store, organization, &credential.id).await?;
        let details = versions
            .iter()
            .map(|version| VersionDetails {
                number: version.number,
                state: version.state(),
                created_at: version.created_at,
            })
            .collect();
        let current = versions
            .iter_mut()
            .find(|version| version.number == credential.current_number)
            .map(|version| {
                (
                    std::mem::take(&mut version.public_fields),
                    std::mem::take(&mut version.value_names),
                )
            });
        let (public_fields, value_names) = current.unwrap_or_default();
        Ok(CredentialDetails {
            credential,
            public_fields,
            value_names,
            versions: details,
            connections,
        })
    }
}

/// Lists the connections that stand on a credential; only the first of very many.
pub(crate) async fn connections_on(
    on: impl Into<On<'_>>,
    organization: &OrganizationId,
    credential: &CredentialId,
) -> Result<Vec<ConnectionId>> {
    let wanted = ConnectionFilter { credential: Some(credential.clone()), ..Default::default() };
    let request = PageRequest { limit: MAX_LIMIT, cursor: None };
    let found =
        connections::list(on, organization, &wanted, &request).await.map_err(store_failed)?;
    Ok(found.items.into_iter().map(|connection| connection.id).collect())
}

/// Checks what a person put in. Fields that are not secret and absent are taken from `before`.
pub(crate) fn check_secrets(
    form: &CredentialForm,
    given: &NewSecrets,
    before: Option<&BTreeMap<String, String>>,
) -> Result<OpenCredential> {
    let mut input = CredentialInput { fields: given.fields.clone(), files: BTreeMap::new() };
    let mut errors = Vec::new();
    for (name, text) in &given.files {
        match STANDARD.decode(text.expose()) {
            Ok(bytes) => {
                input.files.insert(name.clone(), SecretBytes::new(bytes));
            }
            Err(_) => errors.push(FieldError::new(
                format!("/credential/files/{}", escape(name)),
                "is not base64",
            )),
        }
    }
    for (name, text) in before.into_iter().flatten() {
        let is_kept = form.fields.iter().any(|field| field.name == name && !field.is_secret);
        if is_kept && !input.fields.contains_key(name) {
            input.fields.insert(name.clone(), SecretString::from(text.as_str()));
        }
    }
    match validate_credential(form, &input, "/credential") {
        Ok(open) if errors.is_empty() => Ok(open),
        Ok(_) => Err(Error::invalid_fields(errors)),
        Err(more) => {
            errors.extend(more);
            Err(Error::invalid_fields(errors))
        }
    }
}

/// Escapes a name for a JSON pointer (RFC 6901), cut to a readable length.
fn escape(name: &str) -> String {
    let name: String = name.chars().take(80).collect();
    name.replace('~', "~0").replace('/', "~1")
}

/// Returns the person who asks.
pub(crate) fn person(actor: &Actor) -> Result<&UserId> {
    actor.user().ok_or_else(|| Error::denied("not_a_person", "only people can do this"))
}

fn seal_failed(error: SealError) -> Error {
    match error {
        SealError::TooBig { size_bytes, limit_bytes } => Error::invalid_field(
            "/credential",
            format!("takes {size_bytes} bytes in all; {limit_bytes} are allowed"),
        ),
        other => Error::new(
            ErrorKind::Unavailable,
            "credential_not_sealed",
            "the credential cannot be sealed with the root key of this server",
        )
        .hint("an operator sees the cause in the server's log")
        .caused_by(other),
    }
}
