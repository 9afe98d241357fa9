//! Workloads: commands outside pipelines, run by `keyferry exec`.

use std::time::Duration;

use keyferry_domain::actor::{Identity, Via};
use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{OrganizationId, WorkloadId};
use keyferry_domain::secret::SecretString;
use keyferry_domain::token::{Token, TokenKind};
use keyferry_domain::{Actor, Error, Result, Timestamp};
use keyferry_policy::Action;
use keyferry_store::workloads::WorkloadRecord;
use keyferry_store::{Change, tokens, workloads};
use keyferry_vault::hash_token;

use crate::Broker;
use crate::access::Subject;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::leases::{EndedLeases, LeasesOf, address_of, ca_certificate_of};
use crate::names::check_name;

/// How long a workload may take when nobody says.
const DEFAULT_LIFETIME_SECONDS: u32 = 3_600;

/// Workloads that one sweep ends at most.
const BATCH: u32 = 100;

/// A workload that was started just now.
#[derive(Debug)]
pub struct NewWorkload {
    /// Its id.
    pub id: WorkloadId,
    /// What it asks for leases with; not kept.
    pub token: SecretString,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// What it may use.
    pub connections: Vec<HeldConnection>,
}

/// A connection that a holder may use, as its helpers need to know it.
#[derive(Debug, Clone)]
pub struct HeldConnection {
    /// The connection.
    pub id: ConnectionId,
    /// Its type.
    pub connection_type: &'static str,
    /// The address below which helpers answer for it.
    pub address: Option<String>,
    /// Certificates in PEM that the service is trusted by there, instead of the system's.
    pub ca_certificate: Option<String>,
}

impl Broker {
    /// Starts a workload that may use the chosen connections as long as its user may, and not longer
    /// than the API token works that it was started with.
    pub async fn create_workload(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        chosen: &[ConnectionId],
        lifetime_seconds: Option<u32>,
        label: &str,
    ) -> Result<NewWorkload> {
        self.allow(actor, organization, Action::WorkloadCreate, &Subject::Organization).await?;
        let user = actor.user().ok_or_else(|| Error::internal("a workload without a person"))?;
        let label = check_name("/label", label)?;
        let lifetime_seconds = lifetime_seconds.unwrap_or(DEFAULT_LIFETIME_SECONDS);
        if !(60..=86_400).contains(&lifetime_seconds) {
            return Err(Error::invalid_field("/lifetime_seconds", "is not between 60 and 86400"));
        }
        if chosen.is_empty() || chosen.len() > 32 {
            return Err(Error::invalid_field("/connections", "does not name 1 to 32 connections"));
        }
        let mut held = Vec::new();
        for id in chosen {
            let connection = self.find_connection(organization, id).await?;
            let subject = self.connection_subject(&connection).await?;
            self.allow(actor, organization, Action::ConnectionUse, &subject).await?;
            let provider = keyferry_providers::find(&connection.connection_type)
                .ok_or_else(|| Error::internal("a connection of an unknown type"))?;
            held.push(HeldConnection {
                id: id.clone(),
                connection_type: provider.kind().id,
                address: address_of(provider, &connection.settings),
                ca_certificate: ca_certificate_of(&connection.settings),
            });
        }
        let now = self.clock.now();
        let mut expires_at = now.plus(Duration::from_secs(lifetime_seconds.into()));
        let token_id = match &actor.identity {
            Identity::User { via: Via::Token { token, .. }, .. } => Some(token.clone()),
            _ => None,
        };
        // Nobody keeps by a workload what their token would not give them any more.
        if let Some(token) = &token_id {
            let found =
                tokens::find(&self.store, organization, token).await.map_err(store_failed)?;
            let end = found.and_then(|token| token.expires_at);
            expires_at = end.map_or(expires_at, |end| end.min(expires_at));
        }
        let token = Token::generate(TokenKind::Workload, &*self.random);
        let record = WorkloadRecord {
            organization_id: organization.clone(),
            id: WorkloadId::generate(&*self.clock, &*self.random),
            user_id: user.clone(),
            token_id,
            label,
            connections: chosen.to_vec(),
            token_hash: hash_token(&token),
            created_at: now,
            expires_at,
            ended_at: None,
        };
        let mut change = self.store.begin().await.map_err(store_failed)?;
        workloads::create(&mut change, &record).await.map_err(store_failed)?;
        let names: Vec<&str> = chosen.iter().map(ConnectionId::as_str).collect();
        let event = Event::done("workload.create", Target::new("workload", &record.id))
            .with("connections", names.join(","))
            .with("label", &record.label);
        self.commit(change, actor, Some(organization), event).await?;
        Ok(NewWorkload {
            id: record.id,
            token: token.text().clone(),
            expires_at: record.expires_at,
            connections: held,
        })
    }

    /// Ends a workload and its leases; ending it again changes nothing.
    pub async fn end_workload(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &WorkloadId,
    ) -> Result<()> {
        let workload = workloads::find(&self.store, organization, id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::not_found(format!("workload `{id}`")))?;
        let subject = Subject::Workload { workload: id.clone(), owner: workload.user_id };
        self.allow(actor, organization, Action::WorkloadEnd, &subject).await?;
        let now = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        if !workloads::end(&mut change, organization, id, now).await.map_err(store_failed)? {
            return Ok(());
        }
        let of = LeasesOf::Holder(id.to_string());
        let ended = EndedLeases::within(&mut change, organization, of, now).await?;
        let event = Event::done("workload.end", Target::new("workload", id));
        self.commit_ends(change, actor, vec![(Some(organization), event)], &[ended]).await
    }

    /// Ends the workloads whose time is up; called by the server's loop.
    pub async fn sweep_workloads(&self, actor: &Actor) -> Result<()> {
        let now = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let expired =
            workloads::end_expired(&mut change, now, BATCH).await.map_err(store_failed)?;
        if expired.is_empty() {
            return Ok(());
        }
        let ended = end_leases_of(&mut change, &expired, now).await?;
        let mut events = Vec::with_capacity(expired.len());
        for workload in &expired {
            let target = Target::new("workload", &workload.id);
            let event = Event::done("workload.end", target).with("reason", "expired");
            events.push((Some(&workload.organization_id), event));
        }
        self.commit_ends(change, actor, events, &ended).await
    }
}

/// Ends the leases of workloads that the same change has ended.
pub(crate) async fn end_leases_of(
    change: &mut Change,
    workloads: &[WorkloadRecord],
    now: Timestamp,
) -> Result<Vec<EndedLeases>> {
    let mut ended = Vec::with_capacity(workloads.len());
    for workload in workloads {
        let of = LeasesOf::Holder(workload.id.to_string());
        let organization = &workload.organization_id;
        ended.push(EndedLeases::within(&mut *change, organization, of, now).await?);
    }
    Ok(ended)
}
