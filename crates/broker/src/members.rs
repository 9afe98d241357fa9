//! Members: people's places in an organization.

use keyferry_domain::audit::Target;
use keyferry_domain::id::{OrganizationId, UserId};
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::secret::SecretString;
use keyferry_domain::token::{Token, TokenKind};
use keyferry_domain::{Actor, Error, Result, Role};
use keyferry_policy::{Action, Facts};
use keyferry_store::members::MemberRecord;
use keyferry_store::users::UserRecord;
use keyferry_store::{
    Change, connection_members, fold, members, organizations, pipelines, tokens, users, workloads,
};

use crate::Broker;
use crate::access::Subject;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::names::{check_email, check_name};
use crate::workloads::end_leases_of;

/// A member with the person behind it.
#[derive(Debug, Clone)]
pub struct Member {
    /// The place.
    pub member: MemberRecord,
    /// The person.
    pub user: UserRecord,
}

/// A member who was added just now.
#[derive(Debug)]
pub struct NewMember {
    /// The member.
    pub member: Member,
    /// With this a person who has no password yet chooses one; not kept.
    pub invitation: Option<SecretString>,
}

impl Broker {
    /// Adds a person. Someone who has no password yet gets an invitation; inviting them again
    /// makes a new one.
    ///
    /// Whoever holds an invitation becomes that person, in every organization that they belong
    /// to. So only one organization can have invited someone who has not answered yet.
    pub async fn create_member(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        email: &str,
        name: &str,
        role: Role,
    ) -> Result<NewMember> {
        let facts = Facts { grants_ownership: role == Role::Owner, ..Facts::default() };
        let subject = Subject::Organization;
        self.allow_with(actor, organization, Action::MemberCreate, &subject, facts).await?;
        let email = check_email("/email", email)?;
        let name = check_name("/name", name)?;
        let now = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let known = users::find_by_email(&mut change, &email).await.map_err(store_failed)?;
        let is_new = known.is_none();
        let user = known.unwrap_or_else(|| UserRecord {
            id: UserId::generate(&*self.clock, &*self.random),
            email_folded: fold(&email),
            email,
            name,
            password_hash: None,
            created_at: now,
            disabled_at: None,
            version: 1,
        });
        if is_new {
            users::create(&mut change, &user).await.map_err(store_failed)?;
        }
        if user.password_hash.is_none() {
            refuse_if_invited_elsewhere(&mut change, organization, &user.id).await?;
        }
        let present =
            members::find(&mut change, organization, &user.id).await.map_err(store_failed)?;
        let (member, action) = match present {
            // Invited before, and the link was lost: only the invitation is made again.
            Some(member) if user.password_hash.is_none() && member.role == role => {
                (member, "member.invite")
            }
            Some(_) => {
                return Err(Error::conflict("already_exists", "this person is a member already")
                    .hint("change the role with `keyferry member set-role`"));
            }
            None => {
                let member = MemberRecord {
                    organization_id: organization.clone(),
                    user_id: user.id.clone(),
                    role,
                    created_at: now,
                    version: 1,
                };
                members::create(&mut change, &member).await.map_err(store_failed)?;
                (member, "member.create")
            }
        };
        let mut invitation = None;
        if user.password_hash.is_none() {
            let token = Token::generate(TokenKind::Setup, &*self.random);
            let record = self.setup_token(&token, Some(user.id.clone()), "invitation", now);
            tokens::revoke_by_user(&mut change, None, &user.id, now).await.map_err(store_failed)?;
            tokens::create(&mut change, &record).await.map_err(store_failed)?;
            invitation = Some(token.text().clone());
        }
        let event = Event::done(action, Target::new("member", &user.id))
            .with("role", role)
            .with("invited", invitation.is_some());
        self.commit(change, actor, Some(organization), event).await?;
        Ok(NewMember { member: Member { member, user }, invitation })
    }

    /// Lists the members of an organization.
    pub async fn list_members(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<Member>> {
        self.allow(actor, organization, Action::MemberList, &Subject::Organization).await?;
        let found = members::list(&self.store, organization, page).await.map_err(store_failed)?;
        let mut items = Vec::with_capacity(found.items.len());
        for member in found.items {
            let user = self.user_of(&member).await?;
            items.push(Member { member, user });
        }
        Ok(Page { items, next_cursor: found.next_cursor })
    }

    /// Changes a member's role. An organization keeps at least one owner.
    pub async fn update_member(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        user: &UserId,
        role: Role,
        version: i64,
    ) -> Result<Member> {
        let mut member = self.find_member(organization, user).await?;
        let subject = Subject::Member { user: user.clone(), role: member.role };
        let facts = Facts { grants_ownership: role == Role::Owner, ..Facts::default() };
        self.allow_with(actor, organization, Action::MemberUpdate, &subject, facts).await?;
        // What was allowed holds for the role that was read.
        if member.version != version {
            return Err(Error::stale(format!("member `{user}`"), member.version));
        }
        let before = member.role;
        member.role = role;
        let mut change = self.begin_with_owners(organization).await?;
        member.version = members::update(&mut change, &member).await.map_err(store_failed)?;
        keep_an_owner(&mut change, organization, before, Some(role)).await?;
        let event = Event::done("member.update", Target::new("member", user))
            .with("from", before)
            .with("to", role);
        self.commit(change, actor, Some(organization), event).await?;
        let user = self.user_of(&member).await?;
        Ok(Member { member, user })
    }

    /// Removes a member, or leaves. Their tokens and workloads of this organization end at once;
    /// their connections and pipelines stay, for somebody else to take over.
    pub async fn delete_member(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        user: &UserId,
    ) -> Result<()> {
        let member = self.find_member(organization, user).await?;
        let subject = Subject::Member { user: user.clone(), role: member.role };
        self.allow(actor, organization, Action::MemberDelete, &subject).await?;
        let now = self.clock.now();
        let mut change = self.begin_with_owners(organization).await?;
        match members::find(&mut change, organization, user).await.map_err(store_failed)? {
            None => return Err(no_member(user)),
            // What was allowed holds for the role that was read.
            Some(now) if now.role != member.role => {
                return Err(Error::stale(format!("member `{user}`"), now.version));
            }
            Some(_) => {}
        }
        members::delete(&mut change, organization, user).await.map_err(store_failed)?;
        keep_an_owner(&mut change, organization, member.role, None).await?;
        connection_members::delete_by_user(&mut change, organization, user)
            .await
            .map_err(store_failed)?;
        pipelines::delete_member_everywhere(&mut change, organization, user)
            .await
            .map_err(store_failed)?;
        // An invitation belongs to no organization: it ends with the only one that made it.
        let person = users::find(&mut change, user).await.map_err(store_failed)?;
        let has_account = person.is_some_and(|person| person.password_hash.is_some());
        let tokens_of = if has_account { Some(organization) } else { None };
        tokens::revoke_by_user(&mut change, tokens_of, user, now).await.map_err(store_failed)?;
        let ended = workloads::end_by_user(&mut change, organization, user, now)
            .await
            .map_err(store_failed)?;
        let ended = end_leases_of(&mut change, &ended, now).await?;
        let event = Event::done("member.delete", Target::new("member", user))
            .with("role", member.role)
            .with("workloads_ended", ended.len());
        self.commit_ends(change, actor, vec![(Some(organization), event)], &ended).await
    }

    async fn find_member(
        &self,
        organization: &OrganizationId,
        user: &UserId,
    ) -> Result<MemberRecord> {
        members::find(&self.store, organization, user)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| no_member(user))
    }

    /// Begins a change that may take an owner away. Only one goes on at a time, so that two owners
    /// who leave at the same moment cannot both succeed.
    async fn begin_with_owners(&self, organization: &OrganizationId) -> Result<Change> {
        let mut change = self.store.begin().await.map_err(store_failed)?;
        organizations::lock(&mut change, organization).await.map_err(store_failed)?;
        Ok(change)
    }

    async fn user_of(&self, member: &MemberRecord) -> Result<UserRecord> {
        users::find(&self.store, &member.user_id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::internal("a member who is no user"))
    }
}

fn no_member(user: &UserId) -> Error {
    Error::not_found(format!("member `{user}`"))
}

/// Refuses to make a second invitation for somebody whom another organization has invited.
async fn refuse_if_invited_elsewhere(
    change: &mut Change,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<()> {
    let places = members::list_by_user(change, user).await.map_err(store_failed)?;
    if places.iter().any(|place| place.organization_id != *organization) {
        return Err(Error::conflict(
            "invited_elsewhere",
            "this person was invited by another organization and has not answered yet",
        )
        .hint("add them once they have chosen a password"));
    }
    Ok(())
}

/// Refuses a change after which an organization would have no owner.
async fn keep_an_owner(
    change: &mut Change,
    organization: &OrganizationId,
    before: Role,
    after: Option<Role>,
) -> Result<()> {
    if before != Role::Owner || after == Some(Role::Owner) {
        return Ok(());
    }
    let owners =
        members::list_by_role(change, organization, Role::Owner, 1).await.map_err(store_failed)?;
    if owners.is_empty() {
        return Err(Error::conflict("last_owner", "an organization keeps at least one owner")
            .hint("make somebody else an owner first"));
    }
    Ok(())
}
