//! Organizations.

use keyferry_domain::actor::{Identity, Via};
use keyferry_domain::audit::Target;
use keyferry_domain::id::OrganizationId;
use keyferry_domain::{Actor, Error, Result, Role};
use keyferry_policy::Action;
use keyferry_store::members::MemberRecord;
pub use keyferry_store::organizations::OrganizationRecord;
use keyferry_store::{members, organizations};

use crate::Broker;
use crate::access::Subject;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::names::check_name;

impl Broker {
    /// Creates an organization; the caller becomes its owner. Only people who own an organization
    /// of this server already may add another, so that nobody can fill the server with them.
    pub async fn create_organization(
        &self,
        actor: &Actor,
        name: &str,
    ) -> Result<OrganizationRecord> {
        let Identity::User { user, via: Via::Session(_) } = &actor.identity else {
            return Err(Error::denied("session_needed", "an organization is created in a session")
                .hint("sign in with `keyferry login`"));
        };
        let places = members::list_by_user(&self.store, user).await.map_err(store_failed)?;
        if !places.iter().any(|place| place.role == Role::Owner) {
            let target = Target::new("organization", "new");
            let event = Event::refused("organization.create", target, "owns no organization here");
            self.record(actor, None, event).await?;
            return Err(Error::denied(
                "owners_only",
                "only someone who owns an organization of this server can add another",
            ));
        }
        let name = check_name("/name", name)?;
        let now = self.clock.now();
        let organization = OrganizationRecord {
            id: OrganizationId::generate(&*self.clock, &*self.random),
            name,
            created_at: now,
            version: 1,
        };
        let member = MemberRecord {
            organization_id: organization.id.clone(),
            user_id: user.clone(),
            role: Role::Owner,
            created_at: now,
            version: 1,
        };
        let mut change = self.store.begin().await.map_err(store_failed)?;
        organizations::create(&mut change, &organization).await.map_err(store_failed)?;
        members::create(&mut change, &member).await.map_err(store_failed)?;
        let target = Target::new("organization", &organization.id);
        let event = Event::done("organization.create", target);
        self.commit(change, actor, Some(&organization.id), event).await?;
        Ok(organization)
    }

    /// Lists the organizations that the caller belongs to.
    pub async fn list_organizations(&self, actor: &Actor) -> Result<Vec<OrganizationRecord>> {
        let user = self.get_current_user(actor).await?;
        Ok(user.memberships.into_iter().map(|(organization, _)| organization).collect())
    }

    /// Gets an organization.
    pub async fn get_organization(
        &self,
        actor: &Actor,
        id: &OrganizationId,
    ) -> Result<OrganizationRecord> {
        self.allow(actor, id, Action::OrganizationRead, &Subject::Organization).await?;
        organizations::find(&self.store, id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::not_found(format!("organization `{id}`")))
    }

    /// Renames an organization.
    pub async fn update_organization(
        &self,
        actor: &Actor,
        id: &OrganizationId,
        name: &str,
        version: i64,
    ) -> Result<OrganizationRecord> {
        self.allow(actor, id, Action::OrganizationUpdate, &Subject::Organization).await?;
        let name = check_name("/name", name)?;
        let mut organization = self.get_organization(actor, id).await?;
        organization.name = name;
        organization.version = version;
        let mut change = self.store.begin().await.map_err(store_failed)?;
        organization.version =
            organizations::update(&mut change, &organization).await.map_err(store_failed)?;
        let event = Event::done("organization.update", Target::new("organization", id));
        self.commit(change, actor, Some(id), event).await?;
        Ok(organization)
    }
}
