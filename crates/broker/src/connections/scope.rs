//! Who may use a connection: checking what a person chose.

use std::collections::BTreeSet;

use keyferry_domain::id::{GroupId, OrganizationId, UserId};
use keyferry_domain::{Error, FieldError, Result, Scope};
use keyferry_store::connection_members::Chosen;
use keyferry_store::{groups, members};

use crate::Broker;
use crate::failure::store_failed;

/// Users and groups of one custom scope at most. A group is the way to name more people.
const MOST: usize = 200;

impl Broker {
    /// Checks the users and groups of a scope: that they exist, and that the scope has a place
    /// for them.
    pub(super) async fn check_scope(
        &self,
        organization: &OrganizationId,
        scope: Scope,
        users: &[UserId],
        chosen_groups: &[GroupId],
    ) -> Result<Chosen> {
        let mut errors = Vec::new();
        if scope != Scope::Custom {
            for (pointer, is_empty) in
                [("/users", users.is_empty()), ("/groups", chosen_groups.is_empty())]
            {
                if !is_empty {
                    errors.push(FieldError::new(pointer, "is for the scope `custom` only"));
                }
            }
            return if errors.is_empty() {
                Ok(Chosen::default())
            } else {
                Err(Error::invalid_fields(errors))
            };
        }
        if users.is_empty() && chosen_groups.is_empty() {
            return Err(Error::invalid_field(
                "/users",
                "names nobody; a custom scope has at least one user or group",
            ));
        }
        if users.len() + chosen_groups.len() > MOST {
            let message = format!("and groups are more than {MOST}; choose groups of more people");
            return Err(Error::invalid_field("/users", message));
        }
        for (index, user) in users.iter().enumerate() {
            if members::find(&self.store, organization, user).await.map_err(store_failed)?.is_none()
            {
                let message = "is not a member of the organization";
                errors.push(FieldError::new(format!("/users/{index}"), message));
            }
        }
        for (index, group) in chosen_groups.iter().enumerate() {
            if groups::find(&self.store, organization, group).await.map_err(store_failed)?.is_none()
            {
                let message = "is not a group of the organization";
                errors.push(FieldError::new(format!("/groups/{index}"), message));
            }
        }
        if !errors.is_empty() {
            return Err(Error::invalid_fields(errors));
        }
        let users: BTreeSet<&UserId> = users.iter().collect();
        let chosen_groups: BTreeSet<&GroupId> = chosen_groups.iter().collect();
        Ok(Chosen {
            users: users.into_iter().cloned().collect(),
            groups: chosen_groups.into_iter().cloned().collect(),
        })
    }
}
