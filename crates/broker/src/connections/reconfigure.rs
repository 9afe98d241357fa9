//! Replacing what is inside a connection: the secret, the whole credential, or the settings. No
//! pipeline is edited, and the next lease uses the new one.
//!
//! A secret travels only where its owner has sent it. So whoever may not use the present
//! credential cannot have it sent to another address; what they put in beside a new address
//! becomes a credential of their own, and never a version of somebody else's, whose older versions
//! would then be sent to that address when leases are taken back.

use std::collections::BTreeMap;
use std::time::Duration;

use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{CredentialId, OrganizationId};
use keyferry_domain::{Actor, Error, Result, Timestamp};
use keyferry_policy::Action;
use keyferry_providers::Provider;
use keyferry_providers::provider::{Format, Kind, Settings};
use keyferry_providers::validate::validate_settings;
use keyferry_store::connections::ConnectionRecord;
use keyferry_store::credentials::{CredentialRecord, CredentialVersionRecord};
use keyferry_store::{Change, connections, credentials};

use super::create::find_form;
use super::view::ConnectionDetails;
use crate::Broker;
use crate::access::Subject;
use crate::audit::Event;
use crate::credentials::{NewSecrets, check_secrets, connections_on, person};
use crate::failure::store_failed;
use crate::leases::{EndedLeases, LeasesOf};
use crate::opened::Opened;

/// How long a replaced version stays usable when nobody says, so that running jobs finish.
pub(super) const DEFAULT_OVERLAP: Duration = Duration::from_mins(15);

/// How long a replaced version stays usable at most, in seconds.
const LONGEST_OVERLAP_SECONDS: u32 = 86_400;

/// What is to be put into a connection.
#[derive(Debug, Clone)]
pub struct Reconfiguration {
    /// New fields. Those that are not secret and absent stay as they are.
    pub credential: Option<NewSecrets>,
    /// Or another existing credential.
    pub credential_id: Option<CredentialId>,
    /// New settings, all of them; absent keeps them.
    pub settings: Option<BTreeMap<String, String>>,
    /// How long the version before stays usable.
    pub overlap_seconds: Option<u32>,
    /// Make it current without trying it.
    pub skip_verify: bool,
    /// The connection's version that was read.
    pub version: i64,
}

/// What a replacement means.
#[derive(Debug, Clone)]
pub struct Reconfigured {
    /// The connection as it is now.
    pub details: ConnectionDetails,
    /// The pipelines that use it, by name.
    pub used_by: Vec<String>,
    /// Until when the version before stays usable.
    pub overlap_until: Option<Timestamp>,
}

/// The credential that the connection stands on from now on.
enum Next {
    /// The present one as it is: only the settings change.
    Same,
    /// A new version of the present one.
    Version(CredentialVersionRecord),
    /// A new credential; the present one goes when nothing else stands on it.
    New { credential: CredentialRecord, first: CredentialVersionRecord, drops_present: bool },
    /// Another credential that exists.
    Other(CredentialRecord),
}

/// A replacement, checked and ready to be tried.
struct Prepared {
    opened: Opened,
    present: CredentialRecord,
    next: Next,
    moves: bool,
}

impl Broker {
    /// Puts new secrets, another credential or new settings into a connection, once the service
    /// has said yes to them.
    pub async fn reconfigure_connection(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
        new: &Reconfiguration,
    ) -> Result<Reconfigured> {
        let connection =
            self.allowed_connection(actor, organization, id, Action::ConnectionReconfigure).await?;
        if new.version != connection.version {
            return Err(Error::stale(format!("connection `{id}`"), connection.version));
        }
        let overlap = check_shape(new)?;
        let Prepared { opened, present, next, moves } =
            self.prepare(actor, organization, connection, new).await?;
        let health =
            self.examine_new(actor, "connection.reconfigure", &opened, new.skip_verify).await?;
        let mut connection = opened.connection;
        connection.next_check_at = self.next_check(&connection, health.status);
        connection.set_health(health);
        connection.updated_at = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let overlap_until =
            self.store_next(&mut change, &mut connection, &present, &next, overlap).await?;
        let now = connection.updated_at;
        let ended = if moves {
            let of = LeasesOf::Connection(id.clone());
            Some(EndedLeases::within(&mut change, organization, of, now).await?)
        } else {
            None
        };
        let event = describe(&mut change, &connection, &next, moves, overlap_until).await?;
        let events = vec![(Some(organization), event)];
        self.commit_ends(change, actor, events, ended.as_slice()).await?;
        self.leases.forget_connection(id);
        let used_by = self.pipelines_using(organization, id).await?;
        let details = self.connection_details(connection).await?;
        Ok(Reconfigured { details, used_by, overlap_until })
    }

    /// Decides what becomes of the credential, asks whether the actor may do that, and opens what
    /// is to be tried.
    async fn prepare(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        mut connection: ConnectionRecord,
        new: &Reconfiguration,
    ) -> Result<Prepared> {
        let provider = keyferry_providers::find(&connection.connection_type)
            .ok_or_else(|| Error::internal("a connection of an unknown type"))?;
        let present = self.credential_of(&connection).await?;
        let mut moves = false;
        if let Some(given) = &new.settings {
            let settings =
                validate_settings(provider.kind(), given).map_err(Error::invalid_fields)?;
            moves = changes_address(provider.kind(), &connection.settings, &settings);
            connection.settings = settings;
        }
        let (opened, next) = match (&new.credential, &new.credential_id) {
            (Some(secrets), None) => {
                self.prepare_secrets(actor, provider, connection, &present, secrets, moves).await?
            }
            (None, Some(id)) if *id != present.id => {
                let other =
                    self.allowed_credential(actor, organization, id, Action::CredentialUse).await?;
                find_form(provider, "/credential_id", other.kind)?;
                connection.credential_id = other.id.clone();
                let opened = self.open_version(connection, &other, other.current_number).await?;
                (opened, Next::Other(other))
            }
            (_, same) => {
                if moves || same.is_some() {
                    let subject = self.credential_subject(&present).await?;
                    self.allow(actor, organization, Action::CredentialUse, &subject)
                        .await
                        .map_err(|error| {
                            error.hint(
                                "the stored credential is another person's and is not sent to \
                                 another address; send a credential together with the settings",
                            )
                        })?;
                }
                let opened =
                    self.open_version(connection, &present, present.current_number).await?;
                (opened, Next::Same)
            }
        };
        Ok(Prepared { opened, present, next, moves })
    }

    /// New secrets become a version of the present credential where the actor may change that one,
    /// it is of the same kind, and its secrets may go to the connection's address; else a
    /// credential of the actor's own.
    async fn prepare_secrets(
        &self,
        actor: &Actor,
        provider: &'static dyn Provider,
        mut connection: ConnectionRecord,
        present: &CredentialRecord,
        secrets: &NewSecrets,
        moves: bool,
    ) -> Result<(Opened, Next)> {
        let organization = present.organization_id.clone();
        let form = find_form(provider, "/credential/kind", secrets.kind)?;
        let subject = self.credential_subject(present).await?;
        let may = async |action| self.may(actor, &organization, action, &subject).await;
        let versions = credentials::versions(&self.store, &organization, &present.id)
            .await
            .map_err(store_failed)?;
        let is_same_kind = secrets.kind == present.kind;
        let public = versions
            .iter()
            .find(|version| is_same_kind && version.number == present.current_number)
            .map(|version| &version.public_fields);
        let open = check_secrets(form, secrets, public)?;
        let is_version = is_same_kind
            && may(Action::CredentialUpdate).await?
            && (!moves || may(Action::CredentialUse).await?);
        if is_version {
            let number = 1 + versions.first().map_or(0, |version| version.number);
            let version = self.seal_version(actor, present, number, &open)?;
            let opened =
                Opened { connection, provider, credential_version: number, credential: open };
            return Ok((opened, Next::Version(version)));
        }
        self.allow(actor, &organization, Action::CredentialCreate, &Subject::Organization).await?;
        let drops_present = may(Action::CredentialDelete).await?;
        let name = connection.name.clone();
        let (credential, first) =
            self.new_credential(actor, &organization, person(actor)?, name, &open)?;
        connection.credential_id = credential.id.clone();
        let opened = Opened { connection, provider, credential_version: 1, credential: open };
        Ok((opened, Next::New { credential, first, drops_present }))
    }

    /// Stores all of it; returns until when what was there stays usable.
    async fn store_next(
        &self,
        change: &mut Change,
        connection: &mut ConnectionRecord,
        present: &CredentialRecord,
        next: &Next,
        overlap: Duration,
    ) -> Result<Option<Timestamp>> {
        let now = connection.updated_at;
        let until = now.plus(overlap);
        if let Next::New { credential, first, .. } = next {
            credentials::create(&mut *change, credential, first).await.map_err(store_failed)?;
        }
        connection.version =
            connections::update(&mut *change, connection).await.map_err(store_failed)?;
        Ok(match next {
            Next::Same => None,
            Next::Version(version) => {
                credentials::replace(&mut *change, present, version, until)
                    .await
                    .map_err(store_failed)?;
                Some(until)
            }
            Next::New { drops_present, .. } => {
                let organization = &present.organization_id;
                let is_used =
                    !connections_on(&mut *change, organization, &present.id).await?.is_empty();
                if *drops_present && !is_used && present.deleted_at.is_none() {
                    credentials::delete(&mut *change, present, now, until)
                        .await
                        .map_err(store_failed)?;
                    Some(until)
                } else {
                    None
                }
            }
            Next::Other(other) => {
                let found = credentials::find(&mut *change, &other.organization_id, &other.id)
                    .await
                    .map_err(store_failed)?;
                if found.is_none() {
                    return Err(Error::not_found(format!("credential `{}`", other.id)));
                }
                None
            }
        })
    }
}

/// Makes the event of a replacement that `change` holds.
async fn describe(
    change: &mut Change,
    connection: &ConnectionRecord,
    next: &Next,
    moves: bool,
    overlap_until: Option<Timestamp>,
) -> Result<Event> {
    let mut event =
        Event::done("connection.reconfigure", Target::new("connection", &connection.id))
            .with("credential", &connection.credential_id)
            .with("health", connection.health_status)
            .with("address_changed", moves);
    if let Some(until) = overlap_until {
        event = event.with("overlap_until", until);
    }
    if let Next::Version(version) = next {
        event = event.with("credential_version", version.number);
        let organization = &connection.organization_id;
        let sharing: Vec<String> = connections_on(change, organization, &connection.credential_id)
            .await?
            .into_iter()
            .filter(|id| *id != connection.id)
            .map(|id| id.to_string())
            .collect();
        if !sharing.is_empty() {
            event = event.with("also_changed", sharing.join(","));
        }
    }
    Ok(event)
}

/// Checks that something is to be changed, by one way only; returns the overlap.
fn check_shape(new: &Reconfiguration) -> Result<Duration> {
    if new.credential.is_some() && new.credential_id.is_some() {
        return Err(Error::invalid_field("/credential_id", "is given beside `credential`"));
    }
    if new.credential.is_none() && new.credential_id.is_none() && new.settings.is_none() {
        return Err(Error::invalid_field(
            "/credential",
            "is missing; give it, or `credential_id`, or new `settings`",
        ));
    }
    match new.overlap_seconds {
        None => Ok(DEFAULT_OVERLAP),
        Some(seconds) if seconds <= LONGEST_OVERLAP_SECONDS => {
            Ok(Duration::from_secs(seconds.into()))
        }
        Some(_) => Err(Error::invalid_field(
            "/overlap_seconds",
            format!("is more than {LONGEST_OVERLAP_SECONDS}"),
        )),
    }
}

/// Tells whether a credential would be sent somewhere else than before. Which certificates and
/// host keys are trusted says who the service is, not where.
pub(crate) fn changes_address(kind: &Kind, before: &Settings, after: &Settings) -> bool {
    kind.settings
        .iter()
        .filter(|field| !matches!(field.format, Format::CertificatePem | Format::KnownHosts))
        .any(|field| before.get(field.name) != after.get(field.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(given: &[(&str, &str)]) -> Settings {
        given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn only_trust_may_change_without_moving_the_credential() {
        let kind = keyferry_providers::find("gitea").unwrap().kind();
        let before = settings(&[("base_url", "https://a.example.com")]);
        let trust = settings(&[
            ("base_url", "https://a.example.com"),
            ("ca_certificate", "x"),
            ("ssh_known_hosts", "y"),
        ]);
        assert!(!changes_address(kind, &before, &trust));
        for url in ["https://b.example.com", "http://a.example.com", "https://a.example.com/x"] {
            assert!(changes_address(kind, &before, &settings(&[("base_url", url)])), "{url}");
        }
        assert!(changes_address(kind, &before, &Settings::new()));
    }

    #[test]
    fn nothing_and_two_ways_at_once_are_refused() {
        let nothing = Reconfiguration {
            credential: None,
            credential_id: None,
            settings: None,
            overlap_seconds: None,
            skip_verify: false,
            version: 1,
        };
        assert!(check_shape(&nothing).is_err());
        let settings = Reconfiguration { settings: Some(BTreeMap::new()), ..nothing };
        assert_eq!(check_shape(&settings).unwrap(), DEFAULT_OVERLAP);
        let endless = Reconfiguration { overlap_seconds: Some(86_401), ..settings };
        assert!(check_shape(&endless).is_err());
        let at_once = Reconfiguration { overlap_seconds: Some(0), ..endless };
        assert_eq!(check_shape(&at_once).unwrap(), Duration::ZERO);
    }
}
