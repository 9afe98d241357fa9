//! Members: people's places in an organization.

use keyferry_domain::audit::Target;
use keyferry_domain::id::{OrganizationId, UserId};
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::secret::SecretString;
use keyferry_domain::token::{Token, TokenKind};
use keyferry_domain::{Actor, Error, Result, Role, Timestamp};
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

impl Member {
    /// Tells whether they were invited and have not accepted yet.
    pub const fn is_invited(&self) -> bool {
        self.user.invited_to.is_some()
    }
}

/// A member who was invited just now.
#[derive(Debug)]
pub struct NewMember {
    /// The member.
    pub member: Member,
    /// With this the person accepts; not kept.
    pub invitation: SecretString,
}

impl Broker {
    /// Invites a person; inviting them again makes a new invitation.
    ///
    /// Who is invited is a placeholder at first, which this organization alone knows, whether or
    /// not the address has an account: accounts of other organizations are not even looked up, so
    /// that nothing here tells of them. By [`Broker::accept_invitation`] the placeholder becomes an
    /// account, or the account of that address takes its place.
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
        let mut change = self.begin_among_members(organization).await?;
        let known = users::find_member_by_email(&mut change, organization, &email)
            .await
            .map_err(store_failed)?;
        let present = match known {
            Some(user) => {
                let member = members::find(&mut change, organization, &user.id)
                    .await
                    .map_err(store_failed)?
                    .ok_or_else(|| Error::internal("a member without a place"))?;
                Some(Member { member, user })
            }
            None => None,
        };
        let (member, action) = match present {
            // Invited before, and the link was lost: only the invitation is made again.
            Some(present) if present.is_invited() && present.member.role == role => {
                (present, "member.invite")
            }
            Some(_) => {
                return Err(Error::conflict("already_exists", "this person is a member already")
                    .hint("change the role with `keyferry member set-role`"));
            }
            None => {
                let user = UserRecord {
                    id: UserId::generate(&*self.clock, &*self.random),
                    email_folded: fold(&email),
                    email,
                    name,
                    password_hash: None,
                    invited_to: Some(organization.clone()),
                    created_at: now,
                    disabled_at: None,
                    version: 1,
                };
                users::create(&mut change, &user).await.map_err(store_failed)?;
                let member = MemberRecord {
                    organization_id: organization.clone(),
                    user_id: user.id.clone(),
                    role,
                    created_at: now,
                    version: 1,
                };
                members::create(&mut change, &member).await.map_err(store_failed)?;
                (Member { member, user }, "member.create")
            }
        };
        let invited = &member.user.id;
        let token = Token::generate(TokenKind::Setup, &*self.random);
        let record = self.setup_token(&token, Some(invited.clone()), "invitation", now);
        tokens::revoke_by_user(&mut change, None, invited, now).await.map_err(store_failed)?;
        tokens::create(&mut change, &record).await.map_err(store_failed)?;
        let event = Event::done(action, Target::new("member", invited)).with("role", role);
        self.commit(change, actor, Some(organization), event).await?;
        Ok(NewMember { member, invitation: token.text().clone() })
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
        let mut change = self.begin_among_members(organization).await?;
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
    /// their connections and pipelines stay, for somebody else to take over. With somebody who has
    /// not accepted yet, the invitation ends too.
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
        let mut change = self.begin_among_members(organization).await?;
        match members::find(&mut change, organization, user).await.map_err(store_failed)? {
            None => return Err(no_member(user)),
            // What was allowed holds for the role that was read.
            Some(now) if now.role != member.role => {
                return Err(Error::stale(format!("member `{user}`"), now.version));
            }
            Some(_) => {}
        }
        take_out(&mut change, &member).await?;
        let person = users::find(&mut change, user).await.map_err(store_failed)?;
        if let Some(placeholder) = person.filter(|person| person.invited_to.is_some()) {
            end_placeholder(&mut change, placeholder, now).await?;
        } else {
            tokens::revoke_by_user(&mut change, Some(organization), user, now)
                .await
                .map_err(store_failed)?;
        }
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

    /// Begins a change of who is a member of the organization or of one of its pipelines, and as
    /// what. Only one goes on at a time, so that two owners who leave at the same moment cannot both
    /// succeed, nobody is removed and accepts, and nobody is given a part who is leaving.
    pub(crate) async fn begin_among_members(
        &self,
        organization: &OrganizationId,
    ) -> Result<Change> {
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

/// Puts an account in a placeholder's place, and ends the placeholder.
pub(crate) async fn take_place(
    change: &mut Change,
    organization: &OrganizationId,
    placeholder: UserRecord,
    account: &UserId,
    now: Timestamp,
) -> Result<()> {
    let invited = &placeholder.id;
    let place = members::find(&mut *change, organization, invited)
        .await
        .map_err(store_failed)?
        .ok_or_else(|| Error::internal("an invitation without a place"))?;
    let present = members::find(&mut *change, organization, account).await.map_err(store_failed)?;
    match present {
        None => members::move_to(&mut *change, &place, account).await.map_err(store_failed)?,
        // What they are in the organization already, they stay.
        Some(_) => take_out(change, &place).await?,
    }
    members::give_owned(&mut *change, organization, invited, account)
        .await
        .map_err(store_failed)?;
    end_placeholder(change, placeholder, now).await
}

/// Ends a placeholder and its invitation. The row stays, for what it may own.
async fn end_placeholder(
    change: &mut Change,
    mut placeholder: UserRecord,
    now: Timestamp,
) -> Result<()> {
    tokens::revoke_by_user(&mut *change, None, &placeholder.id, now).await.map_err(store_failed)?;
    placeholder.disabled_at = Some(now);
    users::update(&mut *change, &placeholder).await.map_err(store_failed)?;
    Ok(())
}

/// Takes a member out of the organization, and out of what is shared with them there.
async fn take_out(change: &mut Change, member: &MemberRecord) -> Result<()> {
    let MemberRecord { organization_id: organization, user_id: user, role, .. } = member;
    members::delete(&mut *change, organization, user).await.map_err(store_failed)?;
    keep_an_owner(change, organization, *role, None).await?;
    connection_members::delete_by_user(&mut *change, organization, user)
        .await
        .map_err(store_failed)?;
    pipelines::delete_member_everywhere(&mut *change, organization, user)
        .await
        .map_err(store_failed)?;
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
