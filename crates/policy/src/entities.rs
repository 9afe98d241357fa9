//! A question in the engine's words: the few entities that this one question needs, made anew for
//! each, so that there is nothing to keep up to date.

use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use keyferry_domain::id::{GroupId, OrganizationId, UserId};

use crate::action::Action;
use crate::policy::PolicyError;
use crate::request::{Facts, PipelineMember, PipelineRole, Principal, Resource, Target};

/// The names of the schema, parsed once.
pub(crate) struct Names {
    user: EntityTypeName,
    role: EntityTypeName,
    scope: EntityTypeName,
    job: EntityTypeName,
    workload: EntityTypeName,
    runner: EntityTypeName,
    system: EntityTypeName,
    organization: EntityTypeName,
    group: EntityTypeName,
    member: EntityTypeName,
    token: EntityTypeName,
    credential: EntityTypeName,
    connection: EntityTypeName,
    pipeline: EntityTypeName,
    actions: Vec<EntityUid>,
}

type Attributes = HashMap<String, RestrictedExpression>;

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn entity_value(uid: EntityUid) -> RestrictedExpression {
    RestrictedExpression::new_entity_uid(uid)
}

fn attributes<const N: usize>(pairs: [(&str, RestrictedExpression); N]) -> Attributes {
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

fn flag(value: bool) -> RestrictedExpression {
    RestrictedExpression::new_bool(value)
}

fn build(
    uid: EntityUid,
    attributes: Attributes,
    parents: HashSet<EntityUid>,
) -> Result<Entity, PolicyError> {
    Entity::new(uid, attributes, parents).map_err(|error| PolicyError::Question(error.to_string()))
}

impl Names {
    pub(crate) fn new() -> Result<Self, PolicyError> {
        let name = |text: &str| {
            EntityTypeName::from_str(text).map_err(|error| PolicyError::Question(error.to_string()))
        };
        let action = name("Action")?;
        Ok(Self {
            user: name("User")?,
            role: name("Role")?,
            scope: name("Scope")?,
            job: name("Job")?,
            workload: name("Workload")?,
            runner: name("Runner")?,
            system: name("System")?,
            organization: name("Organization")?,
            group: name("Group")?,
            member: name("Member")?,
            token: name("Token")?,
            credential: name("Credential")?,
            connection: name("Connection")?,
            pipeline: name("Pipeline")?,
            actions: Action::ALL.iter().map(|each| uid(&action, each.as_str())).collect(),
        })
    }

    pub(crate) fn action(&self, action: Action) -> EntityUid {
        // `ALL` is in the order of declaration, which is the order of the discriminants.
        self.actions[action as usize].clone()
    }

    fn organization(&self, organization: &OrganizationId) -> EntityUid {
        uid(&self.organization, organization.as_str())
    }

    fn user(&self, user: &UserId) -> EntityUid {
        uid(&self.user, user.as_str())
    }

    fn users<'a>(&self, users: impl Iterator<Item = &'a UserId>) -> RestrictedExpression {
        RestrictedExpression::new_set(users.map(|user| entity_value(self.user(user))))
    }

    fn groups<'a>(&self, groups: impl Iterator<Item = &'a GroupId>) -> RestrictedExpression {
        RestrictedExpression::new_set(
            groups.map(|group| entity_value(uid(&self.group, group.as_str()))),
        )
    }

    /// Returns the organization of the resource as an entity.
    pub(crate) fn organization_entity(&self, resource: &Resource) -> Result<Entity, PolicyError> {
        build(
            self.organization(&resource.organization),
            attributes([("is_disabled", flag(resource.organization_is_disabled))]),
            HashSet::new(),
        )
    }

    /// Returns the principal's other organization as an entity, where it is another one. Nothing is
    /// known of it and nothing needs to be, since the policies refuse before they look.
    pub(crate) fn foreign_organization(
        &self,
        principal: &Principal,
        resource: &Resource,
    ) -> Result<Option<Entity>, PolicyError> {
        let own = match principal {
            Principal::User { organization, .. }
            | Principal::Job { organization, .. }
            | Principal::Workload { organization, .. } => Some(organization),
            Principal::Runner { organization, .. } => organization.as_ref(),
            Principal::System => None,
        };
        own.filter(|own| **own != resource.organization)
            .map(|own| {
                let attributes = attributes([("is_disabled", flag(false))]);
                build(self.organization(own), attributes, HashSet::new())
            })
            .transpose()
    }

    /// Returns who asks.
    pub(crate) fn principal(&self, principal: &Principal) -> Result<Entity, PolicyError> {
        let organization = |id: &OrganizationId| entity_value(self.organization(id));
        match principal {
            Principal::User { user, organization: own, role, groups, is_disabled } => {
                let parents = groups
                    .iter()
                    .map(|group| uid(&self.group, group.as_str()))
                    .chain(role.map(|role| uid(&self.role, role.as_str())))
                    .collect();
                let attributes = attributes([
                    ("organization", organization(own)),
                    ("is_disabled", flag(*is_disabled)),
                ]);
                build(self.user(user), attributes, parents)
            }
            Principal::Job { job, organization: own, is_over } => build(
                uid(&self.job, job.as_str()),
                attributes([("organization", organization(own)), ("is_over", flag(*is_over))]),
                HashSet::new(),
            ),
            Principal::Workload { workload, organization: own, is_over } => build(
                uid(&self.workload, workload.as_str()),
                attributes([("organization", organization(own)), ("is_over", flag(*is_over))]),
                HashSet::from([self.organization(own)]),
            ),
            Principal::Runner { runner, organization: own, is_deleted } => {
                let mut attributes = attributes([("is_deleted", flag(*is_deleted))]);
                if let Some(own) = own {
                    attributes.insert("organization".to_owned(), organization(own));
                }
                let parents = own.iter().map(|own| self.organization(own)).collect();
                build(uid(&self.runner, runner.as_str()), attributes, parents)
            }
            Principal::System => {
                build(uid(&self.system, "system"), Attributes::new(), HashSet::new())
            }
        }
    }

    /// Returns what is asked about; nothing for the organization itself, which is there already.
    pub(crate) fn resource(
        &self,
        resource: &Resource,
    ) -> Result<(EntityUid, Option<Entity>), PolicyError> {
        let Resource { organization, target, .. } = resource;
        let (kind, id, mut attributes) = match target {
            Target::Organization => return Ok((self.organization(organization), None)),
            Target::Member { user, role } => (
                &self.member,
                user.as_str(),
                attributes([
                    ("user", entity_value(self.user(user))),
                    ("role", entity_value(uid(&self.role, role.as_str()))),
                ]),
            ),
            Target::Group(group) => (&self.group, group.as_str(), Attributes::new()),
            Target::Token { token, .. } => (&self.token, token.as_str(), Attributes::new()),
            Target::Credential { credential, is_deleted, .. } => (
                &self.credential,
                credential.as_str(),
                attributes([("is_deleted", flag(*is_deleted))]),
            ),
            Target::Connection {
                connection,
                scope,
                users,
                groups,
                is_disabled,
                is_deleted,
                owner: _,
            } => (
                &self.connection,
                connection.as_str(),
                attributes([
                    ("scope", entity_value(uid(&self.scope, scope.as_str()))),
                    ("users", self.users(users.iter())),
                    ("groups", self.groups(groups.iter())),
                    ("is_disabled", flag(*is_disabled)),
                    ("is_deleted", flag(*is_deleted)),
                ]),
            ),
            Target::Pipeline { pipeline, members, is_deleted, owner: _ } => {
                (&self.pipeline, pipeline.as_str(), self.pipeline(members, *is_deleted))
            }
            Target::Workload { workload, owner } => (
                &self.workload,
                workload.as_str(),
                attributes([
                    ("organization", entity_value(self.organization(organization))),
                    ("owner", entity_value(self.user(owner))),
                    ("is_over", flag(false)),
                ]),
            ),
            Target::Runner(runner) => (
                &self.runner,
                runner.as_str(),
                attributes([
                    ("organization", entity_value(self.organization(organization))),
                    ("is_deleted", flag(false)),
                ]),
            ),
        };
        if let Some(owner) = target.owner() {
            attributes.insert("owner".to_owned(), entity_value(self.user(owner)));
        }
        let uid = uid(kind, id);
        let parents = HashSet::from([self.organization(organization)]);
        build(uid.clone(), attributes, parents).map(|entity| (uid, Some(entity)))
    }

    fn pipeline(&self, members: &[(PipelineMember, PipelineRole)], is_deleted: bool) -> Attributes {
        let mut attributes = attributes([("is_deleted", flag(is_deleted))]);
        for (role, name) in [
            (PipelineRole::Admin, "admin"),
            (PipelineRole::Runner, "runner"),
            (PipelineRole::Viewer, "viewer"),
        ] {
            let with_role = || members.iter().filter(move |(_, has)| *has == role);
            let users = with_role().filter_map(|(member, _)| match member {
                PipelineMember::User(user) => Some(user),
                PipelineMember::Group(_) => None,
            });
            let groups = with_role().filter_map(|(member, _)| match member {
                PipelineMember::Group(group) => Some(group),
                PipelineMember::User(_) => None,
            });
            attributes.insert(format!("{name}_users"), self.users(users));
            attributes.insert(format!("{name}_groups"), self.groups(groups));
        }
        attributes
    }
}

/// Returns the facts in the engine's form.
pub(crate) fn facts(facts: Facts) -> [(String, RestrictedExpression); 3] {
    [
        ("is_bound".to_owned(), flag(facts.is_bound)),
        ("is_holder".to_owned(), flag(facts.is_holder)),
        ("grants_ownership".to_owned(), flag(facts.grants_ownership)),
    ]
}
