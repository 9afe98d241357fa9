//! Who may use a connection and why, and what uses it now.

use std::collections::BTreeMap;

use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{OrganizationId, UserId};
use keyferry_domain::lease::Lease;
use keyferry_domain::page::{MAX_LIMIT, PageRequest};
use keyferry_domain::{Actor, Result};
use keyferry_policy::{Action, Decision};
use keyferry_store::bindings::BindingRecord;
use keyferry_store::leases::LeaseFilter;
use keyferry_store::{bindings, leases, pipelines};

use crate::Broker;
use crate::credentials::person;
use crate::failure::store_failed;

/// May they use it, and if not why not.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Whether they may.
    pub is_allowed: bool,
    /// The ids of the policies that say so, or the reasons against.
    pub reasons: Vec<String>,
    /// Who could use it, or let them.
    pub who_can: Vec<String>,
}

/// What a connection touches.
#[derive(Debug, Clone)]
pub struct ConnectionUsage {
    /// Places of pipelines that are bound to it, with the name of their pipeline.
    pub bindings: Vec<(BindingRecord, String)>,
    /// Leases that have not ended; the newest of very many.
    pub live_leases: Vec<Lease>,
}

impl Broker {
    /// Answers "may this person use the connection, and if not why not", by the same function
    /// that decides; about the caller when nobody is named.
    pub async fn explain_connection(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
        user: Option<&UserId>,
    ) -> Result<Explanation> {
        let connection =
            self.allowed_connection(actor, organization, id, Action::ConnectionExplain).await?;
        let user = match user {
            Some(user) => user,
            None => person(actor)?,
        };
        let subject = self.connection_subject(&connection).await?;
        let decision = self.explain(user, organization, Action::ConnectionUse, &subject).await?;
        Ok(match decision {
            Decision::Allow { by } => {
                Explanation { is_allowed: true, reasons: by, who_can: Vec::new() }
            }
            Decision::Deny { reasons, who_can } => Explanation {
                is_allowed: false,
                reasons: reasons.into_iter().map(|reason| reason.sentence).collect(),
                who_can,
            },
        })
    }

    /// Lists the places that are bound to a connection, and its live leases.
    pub async fn get_connection_usage(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &ConnectionId,
    ) -> Result<ConnectionUsage> {
        let connection =
            self.allowed_connection(actor, organization, id, Action::BindingRead).await?;
        let subject = self.connection_subject(&connection).await?;
        let bound = bindings::list_by_connection(&self.store, organization, id, MAX_LIMIT)
            .await
            .map_err(store_failed)?;
        let mut names = BTreeMap::new();
        for binding in &bound {
            if !names.contains_key(&binding.pipeline_id) {
                let found = pipelines::find(&self.store, organization, &binding.pipeline_id)
                    .await
                    .map_err(store_failed)?;
                names.insert(binding.pipeline_id.clone(), found.map(|pipeline| pipeline.name));
            }
        }
        // What is bound in a deleted pipeline is not used any more.
        let bindings = bound
            .into_iter()
            .filter_map(|binding| {
                let name = names.get(&binding.pipeline_id).cloned().flatten()?;
                Some((binding, name))
            })
            .collect();
        let live_leases = if self.may(actor, organization, Action::LeaseRead, &subject).await? {
            let filter = LeaseFilter {
                connection: Some(id.clone()),
                is_live: true,
                ..LeaseFilter::default()
            };
            let page = PageRequest { limit: MAX_LIMIT, cursor: None };
            leases::list(&self.store, organization, &filter, &page)
                .await
                .map_err(store_failed)?
                .items
                .into_iter()
                .map(|record| record.lease)
                .collect()
        } else {
            Vec::new()
        };
        Ok(ConnectionUsage { bindings, live_leases })
    }
}
