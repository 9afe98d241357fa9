//! Groups: named sets of members, for the custom scope of connections.

use std::collections::BTreeSet;

use keyferry_domain::audit::Target;
use keyferry_domain::id::{GroupId, OrganizationId, UserId};
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::{Actor, Error, Result};
use keyferry_policy::Action;
use keyferry_store::groups::GroupRecord;
use keyferry_store::{Change, fold, groups, members};

use crate::Broker;
use crate::access::Subject;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::names::check_name;

/// Users of one group at most.
const USERS: usize = 1_000;

/// A group with its users.
#[derive(Debug, Clone)]
pub struct Group {
    /// The group.
    pub group: GroupRecord,
    /// Its users.
    pub users: Vec<UserId>,
}

impl Broker {
    /// Creates a group of members.
    pub async fn create_group(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        name: &str,
        users: &[UserId],
    ) -> Result<Group> {
        self.allow(actor, organization, Action::GroupCreate, &Subject::Organization).await?;
        let name = check_name("/name", name)?;
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let users = check_users(&mut change, organization, users).await?;
        let group = GroupRecord {
            organization_id: organization.clone(),
            id: GroupId::generate(&*self.clock, &*self.random),
            name_folded: fold(&name),
            name,
            created_at: self.clock.now(),
            version: 1,
        };
        groups::create(&mut change, &group, &users).await.map_err(store_failed)?;
        let event =
            Event::done("group.create", Target::new("group", &group.id)).with("users", users.len());
        self.commit(change, actor, Some(organization), event).await?;
        Ok(Group { group, users })
    }

    /// Lists the groups of an organization.
    pub async fn list_groups(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<Group>> {
        self.allow(actor, organization, Action::GroupList, &Subject::Organization).await?;
        let found = groups::list(&self.store, organization, page).await.map_err(store_failed)?;
        let mut items = Vec::with_capacity(found.items.len());
        for group in found.items {
            let users =
                groups::users(&self.store, organization, &group.id).await.map_err(store_failed)?;
            items.push(Group { group, users });
        }
        Ok(Page { items, next_cursor: found.next_cursor })
    }

    /// Replaces a group's name and users.
    pub async fn update_group(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &GroupId,
        name: &str,
        users: &[UserId],
        version: i64,
    ) -> Result<Group> {
        let mut group = self.find_group(organization, id).await?;
        self.allow(actor, organization, Action::GroupUpdate, &Subject::Group(id.clone())).await?;
        group.name = check_name("/name", name)?;
        group.name_folded = fold(&group.name);
        group.version = version;
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let users = check_users(&mut change, organization, users).await?;
        group.version =
            groups::update(&mut change, &group, Some(&users)).await.map_err(store_failed)?;
        let event =
            Event::done("group.update", Target::new("group", id)).with("users", users.len());
        self.commit(change, actor, Some(organization), event).await?;
        Ok(Group { group, users })
    }

    /// Deletes a group; connections that were open to it are not any more.
    pub async fn delete_group(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &GroupId,
    ) -> Result<()> {
        self.find_group(organization, id).await?;
        self.allow(actor, organization, Action::GroupDelete, &Subject::Group(id.clone())).await?;
        let mut change = self.store.begin().await.map_err(store_failed)?;
        if !groups::delete(&mut change, organization, id).await.map_err(store_failed)? {
            return Err(no_group(id));
        }
        let event = Event::done("group.delete", Target::new("group", id));
        self.commit(change, actor, Some(organization), event).await
    }

    async fn find_group(&self, organization: &OrganizationId, id: &GroupId) -> Result<GroupRecord> {
        groups::find(&self.store, organization, id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| no_group(id))
    }
}

fn no_group(id: &GroupId) -> Error {
    Error::not_found(format!("group `{id}`"))
}

/// Checks that everyone is a member; names nobody twice. Runs within the change, so that nobody
/// leaves in between.
async fn check_users(
    change: &mut Change,
    organization: &OrganizationId,
    users: &[UserId],
) -> Result<Vec<UserId>> {
    if users.len() > USERS {
        return Err(Error::invalid_field("/users", format!("holds more than {USERS} users")));
    }
    for (index, user) in users.iter().enumerate() {
        let member = members::find(&mut *change, organization, user).await.map_err(store_failed)?;
        if member.is_none() {
            return Err(Error::invalid_field(
                format!("/users/{index}"),
                format!("`{user}` is not a member of this organization"),
            ));
        }
    }
    let distinct: BTreeSet<&UserId> = users.iter().collect();
    Ok(distinct.into_iter().cloned().collect())
}
