//! Seeing leases, never their material.

use keyferry_domain::id::{LeaseId, OrganizationId};
use keyferry_domain::lease::Lease;
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::{Actor, Error, Result};
use keyferry_policy::Action;
use keyferry_store::leases::LeaseRecord;
use keyferry_store::{connections, leases};

pub use keyferry_store::leases::LeaseFilter;

use crate::Broker;
use crate::access::Subject;
use crate::failure::store_failed;

impl Broker {
    /// Gets a lease.
    pub async fn get_lease(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &LeaseId,
    ) -> Result<Lease> {
        self.allow(actor, organization, Action::LeaseList, &Subject::Organization).await?;
        let lease = self.find_lease(organization, id).await?.lease;
        if self.sees_lease(actor, &lease).await? { Ok(lease) } else { Err(no_lease(id)) }
    }

    /// Lists the leases whose connection the caller may see, newest first. A page may hold fewer
    /// entries than asked for although more follow.
    pub async fn list_leases(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        filter: &LeaseFilter,
        page: &PageRequest,
    ) -> Result<Page<Lease>> {
        self.allow(actor, organization, Action::LeaseList, &Subject::Organization).await?;
        let found =
            leases::list(&self.store, organization, filter, page).await.map_err(store_failed)?;
        let mut visible = Vec::new();
        for record in found.items {
            if self.sees_lease(actor, &record.lease).await? {
                visible.push(record.lease);
            }
        }
        Ok(Page { items: visible, next_cursor: found.next_cursor })
    }

    pub(super) async fn find_lease(
        &self,
        organization: &OrganizationId,
        id: &LeaseId,
    ) -> Result<LeaseRecord> {
        leases::find(&self.store, organization, id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| no_lease(id))
    }

    async fn sees_lease(&self, actor: &Actor, lease: &Lease) -> Result<bool> {
        let connection =
            connections::find_with_deleted(&self.store, &lease.organization, &lease.connection)
                .await
                .map_err(store_failed)?;
        let Some(connection) = connection else { return Ok(false) };
        let subject = self.connection_subject(&connection).await?;
        self.may(actor, &lease.organization, Action::LeaseRead, &subject).await
    }
}

pub(super) fn no_lease(id: &LeaseId) -> Error {
    Error::not_found(format!("lease `{id}`"))
}
