//! Creating a connection: checked, tried, sealed and stored in one request, or not at all.

use std::collections::BTreeMap;

use keyferry_domain::audit::Target;
use keyferry_domain::connection::{ConnectionId, Health};
use keyferry_domain::id::{CredentialId, GroupId, OrganizationId, UserId};
use keyferry_domain::{Actor, Error, FieldError, Result, Scope};
use keyferry_policy::Action;
use keyferry_providers::Provider;
use keyferry_providers::provider::{CredentialForm, Settings};
use keyferry_providers::validate::validate_settings;
use keyferry_store::connection_members::Chosen;
use keyferry_store::connections::ConnectionRecord;
use keyferry_store::credentials::{CredentialRecord, CredentialVersionRecord};
use keyferry_store::{Change, StoreError, connection_members, connections, credentials, fold};

use super::view::ConnectionDetails;
use crate::Broker;
use crate::access::Subject;
use crate::audit::Event;
use crate::credentials::{NewSecrets, check_secrets, person};
use crate::failure::store_failed;
use crate::names::check_name;
use crate::opened::Opened;

/// What a person wants to connect to.
#[derive(Debug, Clone)]
pub struct NewConnection {
    /// Its name.
    pub name: String,
    /// Its type, by any of the type's names.
    pub connection_type: String,
    /// The chosen connection ID; generated when absent.
    pub id: Option<String>,
    /// Its settings.
    pub settings: BTreeMap<String, String>,
    /// A new credential.
    pub credential: Option<NewSecrets>,
    /// Or an existing one.
    pub credential_id: Option<CredentialId>,
    /// Who may use it.
    pub scope: Scope,
    /// The users of a custom scope.
    pub users: Vec<UserId>,
    /// The groups of a custom scope.
    pub groups: Vec<GroupId>,
    /// Store it without trying it.
    pub skip_verify: bool,
}

/// The credential that a connection is to stand on.
enum Behind {
    New(Box<(CredentialRecord, CredentialVersionRecord)>),
    Existing(CredentialRecord),
}

/// What was checked without asking anybody.
struct Draft {
    name: String,
    provider: &'static dyn Provider,
    id: ConnectionId,
    settings: Settings,
}

impl Broker {
    /// Creates a connection. Its credential is tried before anything is stored; when the service
    /// does not say yes, nothing is.
    pub async fn create_connection(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        new: &NewConnection,
    ) -> Result<ConnectionDetails> {
        self.allow(actor, organization, Action::ConnectionCreate, &Subject::Organization).await?;
        let owner = person(actor)?;
        let draft = self.check_new(new)?;
        let chosen = self.check_scope(organization, new.scope, &new.users, &new.groups).await?;
        self.check_id_is_free(organization, &draft.id).await?;
        let (behind, opened) = self.open_new(actor, organization, owner, new, draft).await?;
        let health = self.examine_new(actor, "connection.create", &opened, new.skip_verify).await?;
        let mut connection = opened.connection;
        connection.next_check_at = self.next_check(&connection, health.status);
        connection.set_health(health);
        let change = self.store_new(&connection, &behind, &chosen).await?;
        let event = Event::done("connection.create", Target::new("connection", &connection.id))
            .with("type", &connection.connection_type)
            .with("credential", &connection.credential_id)
            .with("scope", connection.scope)
            .with("health", connection.health_status);
        self.commit(change, actor, Some(organization), event).await?;
        Ok(ConnectionDetails { connection, chosen })
    }

    /// Checks everything that can be checked without asking anybody; all errors at once.
    fn check_new(&self, new: &NewConnection) -> Result<Draft> {
        let provider = find_type(&new.connection_type)?;
        let mut errors = Vec::new();
        let name = check_name("/name", &new.name);
        if let Err(error) = &name {
            errors.extend(error.details().fields.clone());
        }
        let id = match new.id.as_deref().map(str::parse::<ConnectionId>) {
            None => Some(ConnectionId::generate(&*self.random)),
            Some(Ok(id)) => Some(id),
            Some(Err(error)) => {
                errors.push(FieldError::new("/connection_id", format!("cannot {error}")));
                None
            }
        };
        let settings = validate_settings(provider.kind(), &new.settings)
            .map_err(|more| errors.extend(more))
            .ok();
        match (&new.credential, &new.credential_id) {
            (Some(secrets), None) => {
                let checked = find_form(provider, "/credential/kind", secrets.kind)
                    .and_then(|form| check_secrets(form, secrets, None));
                if let Err(error) = checked {
                    errors.extend(error.details().fields.clone());
                }
            }
            (None, Some(_)) => {}
            (Some(_), Some(_)) => {
                errors.push(FieldError::new("/credential_id", "is given beside `credential`"));
            }
            (None, None) => errors
                .push(FieldError::new("/credential", "is missing; give it, or `credential_id`")),
        }
        match (name, id, settings) {
            (Ok(name), Some(id), Some(settings)) if errors.is_empty() => {
                Ok(Draft { name, provider, id, settings })
            }
            _ => Err(Error::invalid_fields(errors)),
        }
    }

    /// Tells early, before the service is asked; the insertion decides.
    async fn check_id_is_free(
        &self,
        organization: &OrganizationId,
        id: &ConnectionId,
    ) -> Result<()> {
        let found = connections::find_with_deleted(&self.store, organization, id)
            .await
            .map_err(store_failed)?;
        if found.is_some() { Err(taken(id)) } else { Ok(()) }
    }

    /// Makes the record, and opens or seals the credential that it is to stand on.
    async fn open_new(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        owner: &UserId,
        new: &NewConnection,
        draft: Draft,
    ) -> Result<(Behind, Opened)> {
        let provider = draft.provider;
        let now = self.clock.now();
        let record = |credential: &CredentialRecord| ConnectionRecord {
            organization_id: organization.clone(),
            id: draft.id,
            name_folded: fold(&draft.name),
            name: draft.name,
            connection_type: provider.kind().id.to_owned(),
            settings: draft.settings,
            credential_id: credential.id.clone(),
            owner_id: owner.clone(),
            scope: new.scope,
            health_status: Health::UNVERIFIED.status,
            health_reason: None,
            health_field: None,
            checked_at: None,
            next_check_at: None,
            last_used_at: None,
            created_at: now,
            updated_at: now,
            deleted_at: None,
            version: 1,
        };
        match (&new.credential, &new.credential_id) {
            (Some(secrets), None) => {
                let organization_itself = &Subject::Organization;
                self.allow(actor, organization, Action::CredentialCreate, organization_itself)
                    .await?;
                let form = find_form(provider, "/credential/kind", secrets.kind)?;
                let open = check_secrets(form, secrets, None)?;
                let name = new.name.clone();
                let (credential, first) =
                    self.new_credential(actor, organization, owner, name, &open)?;
                let connection = record(&credential);
                let opened =
                    Opened { connection, provider, credential_version: 1, credential: open };
                Ok((Behind::New(Box::new((credential, first))), opened))
            }
            (None, Some(id)) => {
                let credential =
                    self.allowed_credential(actor, organization, id, Action::CredentialUse).await?;
                find_form(provider, "/credential_id", credential.kind)?;
                let connection = record(&credential);
                let number = credential.current_number;
                let opened = self.open_version(connection, &credential, number).await?;
                Ok((Behind::Existing(credential), opened))
            }
            _ => Err(Error::internal("a draft without exactly one credential")),
        }
    }

    /// Stores all of it; the caller commits.
    async fn store_new(
        &self,
        connection: &ConnectionRecord,
        behind: &Behind,
        chosen: &Chosen,
    ) -> Result<Change> {
        let organization = &connection.organization_id;
        let mut change = self.store.begin().await.map_err(store_failed)?;
        match behind {
            Behind::New(new) => {
                let (credential, first) = &**new;
                credentials::create(&mut change, credential, first).await.map_err(store_failed)?;
            }
            Behind::Existing(credential) => {
                let found = credentials::find(&mut change, organization, &credential.id)
                    .await
                    .map_err(store_failed)?;
                if found.is_none() {
                    return Err(Error::not_found(format!("credential `{}`", credential.id)));
                }
            }
        }
        match connections::create(&mut change, connection).await {
            Err(StoreError::AlreadyExists { .. }) => return Err(taken(&connection.id)),
            outcome => outcome.map_err(store_failed)?,
        }
        connection_members::replace(&mut change, organization, &connection.id, chosen)
            .await
            .map_err(store_failed)?;
        Ok(change)
    }
}

fn taken(id: &ConnectionId) -> Error {
    Error::conflict(
        "connection_id_taken",
        format!("the connection ID `{id}` is taken, or was a deleted connection's"),
    )
    .hint("choose another; an ID is never used again, so that no pipeline changes what it means")
}

/// Finds a connection type by any of its names.
pub(super) fn find_type(name: &str) -> Result<&'static dyn Provider> {
    keyferry_providers::find(name).ok_or_else(|| {
        let shown: String = name.chars().take(64).collect();
        let folded = shown.to_lowercase();
        let names = keyferry_providers::ALL.iter().map(|provider| provider.kind().id);
        let nearest = names
            .clone()
            .map(|candidate| (strsim::damerau_levenshtein(candidate, &folded), candidate))
            .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
            .min();
        let advice = match nearest {
            Some((_, candidate)) => format!("did you mean `{candidate}`?"),
            None => format!("there are {}", names.collect::<Vec<_>>().join(", ")),
        };
        Error::invalid_field("/type", format!("`{shown}` is not a connection type; {advice}"))
    })
}

/// Finds the form of a kind of credential among those that a type takes.
pub(super) fn find_form(
    provider: &dyn Provider,
    pointer: &str,
    kind: keyferry_domain::credential::CredentialKind,
) -> Result<&'static CredentialForm> {
    let taken = provider.kind().credentials;
    taken.iter().copied().find(|form| form.kind == kind).ok_or_else(|| {
        let kinds: Vec<String> = taken.iter().map(|form| format!("`{}`", form.kind)).collect();
        let type_name = provider.kind().id;
        let message =
            format!("is a `{kind}`; a `{type_name}` connection takes {}", kinds.join(" or "));
        Error::invalid_field(pointer, message)
    })
}
