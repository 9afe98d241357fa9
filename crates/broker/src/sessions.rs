//! First start, invitations, sign-in, and who one is.

use std::time::Duration;

use keyferry_domain::actor::{Identity, Via};
use keyferry_domain::audit::Target;
use keyferry_domain::id::{OrganizationId, SessionId, TokenId, UserId};
use keyferry_domain::secret::SecretString;
use keyferry_domain::token::{Token, TokenKind};
use keyferry_domain::{Actor, Error, Result, Role, Timestamp};
use keyferry_store::members::MemberRecord;
use keyferry_store::organizations::OrganizationRecord;
use keyferry_store::sessions::SessionRecord;
use keyferry_store::tokens::TokenRecord;
use keyferry_store::users::UserRecord;
use keyferry_store::{Change, StoreError, fold, members, organizations, sessions, tokens, users};
use keyferry_vault::{PasswordCheck, hash_password, hash_token, verify_password};

use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::members::take_place;
use crate::names::{check_email, check_name, check_password};

/// How long a session lasts.
const SESSION_LIFETIME: Duration = Duration::from_hours(12);

/// How long a one-time link works.
pub(crate) const SETUP_LIFETIME: Duration = Duration::from_hours(24);

/// A session that was made just now.
#[derive(Debug)]
pub struct NewSession {
    /// What the session is proved with; not kept.
    pub token: SecretString,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Who signed in.
    pub user: CurrentUser,
}

/// A person and their places.
#[derive(Debug, Clone)]
pub struct CurrentUser {
    /// The person.
    pub user: UserRecord,
    /// Their organizations, and the role in each.
    pub memberships: Vec<(OrganizationRecord, Role)>,
}

impl Broker {
    /// Makes the one-time token of the first start; `None` when somebody has an account already.
    /// Tokens of earlier starts stop working.
    pub async fn first_start_token(&self, actor: &Actor) -> Result<Option<SecretString>> {
        require_system(actor)?;
        if users::count(&self.store).await.map_err(store_failed)? > 0 {
            return Ok(None);
        }
        let now = self.clock.now();
        let token = Token::generate(TokenKind::Setup, &*self.random);
        let record = self.setup_token(&token, None, "first start", now);
        let mut change = self.store.begin().await.map_err(store_failed)?;
        tokens::revoke_server_setup(&mut change, now).await.map_err(store_failed)?;
        tokens::create(&mut change, &record).await.map_err(store_failed)?;
        let event = Event::done("setup.offer", Target::new("token", &record.id));
        self.commit(change, actor, None, event).await?;
        Ok(Some(token.text().clone()))
    }

    /// Creates the first owner and organization on the server's machine.
    pub async fn create_first_owner(
        &self,
        actor: &Actor,
        email: &str,
        name: &str,
        password: &SecretString,
        organization_name: &str,
    ) -> Result<OrganizationId> {
        require_system(actor)?;
        let (user, organization) =
            self.prepare_owner(email, name, password, organization_name).await?;
        let change = self.store.begin().await.map_err(store_failed)?;
        self.add_first_owner(actor, change, &user, &organization).await?;
        Ok(organization.id)
    }

    /// Creates the first owner and organization by the one-time link, and signs them in.
    pub async fn set_up_server(
        &self,
        actor: &Actor,
        setup_token: &SecretString,
        email: &str,
        name: &str,
        password: &SecretString,
        organization_name: &str,
    ) -> Result<NewSession> {
        let link = self.find_setup_token(actor, setup_token).await?;
        if link.user_id.is_some() {
            return Err(used_link());
        }
        let (user, organization) =
            self.prepare_owner(email, name, password, organization_name).await?;
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let now = self.clock.now();
        if !tokens::use_up(&mut change, &link.id, now).await.map_err(store_failed)? {
            return Err(used_link());
        }
        self.add_first_owner(actor, change, &user, &organization).await?;
        self.start_session(actor, user).await
    }

    /// Returns the address that an invitation was made for, whose account may be guessed at with it.
    /// Not to be shown: it is for counting tries, like those of signing in.
    pub async fn invited_address(
        &self,
        actor: &Actor,
        invitation_token: &SecretString,
    ) -> Result<String> {
        let (_, placeholder, _) = self.find_invitation(actor, invitation_token).await?;
        Ok(placeholder.email)
    }

    /// Accepts an invitation, and signs in. An address without an account gets one, with this
    /// password. Otherwise it must be the password of that account, which takes its place in the
    /// organization; a wrong one changes nothing.
    pub async fn accept_invitation(
        &self,
        actor: &Actor,
        invitation_token: &SecretString,
        password: &SecretString,
    ) -> Result<NewSession> {
        let (link, placeholder, organization) =
            self.find_invitation(actor, invitation_token).await?;
        check_password("/password", password)?;
        let account = users::find_by_email(&self.store, &placeholder.email).await;
        let user = match account.map_err(store_failed)? {
            Some(account) => self.prove_account(actor, account, password).await?,
            None => UserRecord {
                password_hash: Some(hash(password.clone()).await?),
                invited_to: None,
                ..placeholder.clone()
            },
        };
        let now = self.clock.now();
        let mut change = self.begin_among_members(&organization).await?;
        if !tokens::use_up(&mut change, &link.id, now).await.map_err(store_failed)? {
            return Err(used_link());
        }
        let mut event = Event::done("invitation.accept", Target::new("user", &user.id));
        if user.id == placeholder.id {
            users::update(&mut change, &user).await.map_err(account_made_meanwhile)?;
        } else {
            event = event.with("invited_as", &placeholder.id);
            take_place(&mut change, &organization, placeholder, &user.id, now).await?;
        }
        self.commit(change, actor, Some(&organization), event).await?;
        self.start_session(actor, user).await
    }

    /// Checks that an invited person has the account of the address. A refusal goes into the record
    /// of the server: that of the organization would tell who has an account.
    async fn prove_account(
        &self,
        actor: &Actor,
        account: UserRecord,
        password: &SecretString,
    ) -> Result<UserRecord> {
        let stored = account.password_hash.clone().filter(|_| account.disabled_at.is_none());
        if verify(password.clone(), stored).await?.is_match() {
            return Ok(account);
        }
        let target = Target::new("user", &account.id);
        let event = Event::refused("invitation.accept", target, "wrong password");
        self.record(actor, None, event).await?;
        Err(Error::unauthenticated(
            "the invited address has an account on this server, and this is not its password",
        )
        .hint("give the password that you sign in with; the invitation still works"))
    }

    /// Finds the invitation that a one-time link is, with the placeholder and who has made it.
    async fn find_invitation(
        &self,
        actor: &Actor,
        text: &SecretString,
    ) -> Result<(TokenRecord, UserRecord, OrganizationId)> {
        let link = self.find_setup_token(actor, text).await?;
        let invited = link.user_id.as_ref().ok_or_else(used_link)?;
        let placeholder = self.active_user(invited).await?.ok_or_else(used_link)?;
        let organization = placeholder.invited_to.clone().ok_or_else(used_link)?;
        Ok((link, placeholder, organization))
    }

    /// Signs in with e-mail address and password. Unknown addresses and wrong passwords get the
    /// same answer after the same time.
    pub async fn create_session(
        &self,
        actor: &Actor,
        email: &str,
        password: &SecretString,
    ) -> Result<NewSession> {
        let user = users::find_by_email(&self.store, email).await.map_err(store_failed)?;
        let user = user.filter(|user| user.disabled_at.is_none());
        let stored = user.as_ref().and_then(|user| user.password_hash.clone());
        let check = verify(password.clone(), stored).await?;
        let known = user.as_ref().map(|user| user.id.to_string());
        let (PasswordCheck::Matches { needs_rehash }, Some(mut user)) = (check, user) else {
            // Never what was typed: people put passwords into the field above.
            let target = Target::new("user", known.as_deref().unwrap_or("unknown"));
            let event = Event::refused("session.create", target, "wrong address or password");
            self.record(actor, None, event).await?;
            return Err(Error::unauthenticated("the e-mail address or the password is wrong"));
        };
        if needs_rehash {
            user.password_hash = Some(hash(password.clone()).await?);
            // A lost race means that someone changed the user just now; the next sign-in tries again.
            if let Err(error) = users::update(&self.store, &user).await {
                tracing::warn!(?error, "replace an old password hash");
            }
        }
        self.start_session(actor, user).await
    }

    /// Ends the session that the caller is using.
    pub async fn delete_session(&self, actor: &Actor) -> Result<()> {
        let Identity::User { via: Via::Session(session), .. } = &actor.identity else {
            return Err(Error::invalid("no_session", "this request was not made in a session")
                .hint("API tokens are revoked with `keyferry token revoke`"));
        };
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let now = self.clock.now();
        if !sessions::end(&mut change, session, now).await.map_err(store_failed)? {
            return Ok(());
        }
        let event = Event::done("session.end", Target::new("session", session));
        self.commit(change, actor, None, event).await
    }

    /// Tells who the caller is.
    pub async fn get_current_user(&self, actor: &Actor) -> Result<CurrentUser> {
        let user = actor.user().ok_or_else(|| {
            Error::denied(
                "not_a_person",
                "only people have an account; this token is not a person's",
            )
        })?;
        let user = self.active_user(user).await?.ok_or_else(|| Error::not_found("such user"))?;
        self.current_user(user, actor).await
    }

    /// Changes the caller's password and ends every other session of theirs.
    pub async fn change_password(
        &self,
        actor: &Actor,
        current: &SecretString,
        new: &SecretString,
    ) -> Result<()> {
        let Identity::User { user, via: Via::Session(session) } = &actor.identity else {
            return Err(Error::denied("session_needed", "a password is changed in a session")
                .hint("sign in with `keyferry login`"));
        };
        check_password("/new_password", new)?;
        let mut user =
            self.active_user(user).await?.ok_or_else(|| Error::not_found("such user"))?;
        let target = || Target::new("user", &user.id);
        if !verify(current.clone(), user.password_hash.clone()).await?.is_match() {
            let event = Event::refused("password.change", target(), "wrong password");
            self.record(actor, None, event).await?;
            return Err(Error::invalid_field("/current_password", "is not the present password"));
        }
        let event = Event::done("password.change", target());
        user.password_hash = Some(hash(new.clone()).await?);
        let mut change = self.store.begin().await.map_err(store_failed)?;
        users::update(&mut change, &user).await.map_err(store_failed)?;
        let now = self.clock.now();
        sessions::end_by_user(&mut change, &user.id, Some(session), now)
            .await
            .map_err(store_failed)?;
        self.commit(change, actor, None, event).await
    }

    async fn current_user(&self, user: UserRecord, actor: &Actor) -> Result<CurrentUser> {
        let mut memberships = Vec::new();
        for member in members::list_by_user(&self.store, &user.id).await.map_err(store_failed)? {
            // A token works in one organization, and shows no other.
            if let Identity::User { via: Via::Token { organization, .. }, .. } = &actor.identity
                && *organization != member.organization_id
            {
                continue;
            }
            let organization = organizations::find(&self.store, &member.organization_id)
                .await
                .map_err(store_failed)?;
            memberships.extend(organization.map(|organization| (organization, member.role)));
        }
        Ok(CurrentUser { user, memberships })
    }

    async fn start_session(&self, actor: &Actor, user: UserRecord) -> Result<NewSession> {
        let now = self.clock.now();
        let token = Token::generate(TokenKind::Session, &*self.random);
        let record = SessionRecord {
            id: SessionId::generate(&*self.clock, &*self.random),
            user_id: user.id.clone(),
            token_hash: hash_token(&token),
            created_at: now,
            expires_at: now.plus(SESSION_LIFETIME),
            last_used_at: None,
            ended_at: None,
        };
        let mut change = self.store.begin().await.map_err(store_failed)?;
        sessions::create(&mut change, &record).await.map_err(store_failed)?;
        let actor = Actor {
            identity: Identity::User {
                user: user.id.clone(),
                via: Via::Session(record.id.clone()),
            },
            ..actor.clone()
        };
        let event = Event::done("session.create", Target::new("session", &record.id));
        self.commit(change, &actor, None, event).await?;
        let user = self.current_user(user, &actor).await?;
        Ok(NewSession { token: token.text().clone(), expires_at: record.expires_at, user })
    }

    /// Makes the record of a one-time token; `user` is who is invited, nobody at the first start.
    pub(crate) fn setup_token(
        &self,
        token: &Token,
        user: Option<UserId>,
        name: &str,
        now: Timestamp,
    ) -> TokenRecord {
        TokenRecord {
            id: TokenId::generate(&*self.clock, &*self.random),
            organization_id: None,
            user_id: user,
            runner_id: None,
            kind: TokenKind::Setup,
            name: name.to_owned(),
            hash: hash_token(token),
            hint: token.hint(),
            created_at: now,
            expires_at: Some(now.plus(SETUP_LIFETIME)),
            last_used_at: None,
            revoked_at: None,
        }
    }

    async fn find_setup_token(&self, actor: &Actor, text: &SecretString) -> Result<TokenRecord> {
        let now = self.clock.now();
        let token =
            Token::parse(text.expose()).ok().filter(|token| token.kind() == TokenKind::Setup);
        let found = match token {
            Some(token) => tokens::find_by_hash(&self.store, &hash_token(&token))
                .await
                .map_err(store_failed)?,
            None => None,
        };
        let usable = found.filter(|record| {
            record.revoked_at.is_none() && record.expires_at.is_none_or(|end| end > now)
        });
        if usable.is_none() {
            let event =
                Event::refused("setup.use", Target::new("token", "unknown"), "link does not work");
            self.record(actor, None, event).await?;
        }
        usable.ok_or_else(used_link)
    }

    async fn prepare_owner(
        &self,
        email: &str,
        name: &str,
        password: &SecretString,
        organization_name: &str,
    ) -> Result<(UserRecord, OrganizationRecord)> {
        let email = check_email("/email", email)?;
        let name = check_name("/name", name)?;
        let organization_name = check_name("/organization_name", organization_name)?;
        check_password("/password", password)?;
        let password_hash = hash(password.clone()).await?;
        let now = self.clock.now();
        let user = UserRecord {
            id: UserId::generate(&*self.clock, &*self.random),
            email_folded: fold(&email),
            email,
            name,
            password_hash: Some(password_hash),
            invited_to: None,
            created_at: now,
            disabled_at: None,
            version: 1,
        };
        let organization = OrganizationRecord {
            id: OrganizationId::generate(&*self.clock, &*self.random),
            name: organization_name,
            created_at: now,
            version: 1,
        };
        Ok((user, organization))
    }

    async fn add_first_owner(
        &self,
        actor: &Actor,
        mut change: Change,
        user: &UserRecord,
        organization: &OrganizationRecord,
    ) -> Result<()> {
        if users::count(&mut change).await.map_err(store_failed)? > 0 {
            return Err(Error::conflict("set_up_already", "somebody has an account here already")
                .hint("sign in, and add people with `keyferry member add`"));
        }
        organizations::create(&mut change, organization).await.map_err(store_failed)?;
        users::create(&mut change, user).await.map_err(store_failed)?;
        let member = MemberRecord {
            organization_id: organization.id.clone(),
            user_id: user.id.clone(),
            role: Role::Owner,
            created_at: user.created_at,
            version: 1,
        };
        members::create(&mut change, &member).await.map_err(store_failed)?;
        tokens::revoke_server_setup(&mut change, user.created_at).await.map_err(store_failed)?;
        let event =
            Event::done("organization.create", Target::new("organization", &organization.id))
                .with("owner", &user.id);
        self.commit(change, actor, Some(&organization.id), event).await
    }
}

fn require_system(actor: &Actor) -> Result<()> {
    match actor.identity {
        Identity::System => Ok(()),
        _ => Err(Error::denied("system_only", "this is done on the server's machine only")),
    }
}

fn used_link() -> Error {
    Error::unauthenticated("this link does not work: it was used, has expired, or is mistyped")
        .hint("the first start prints a new one each time the server starts; an admin can invite again")
}

/// Two invitations of one address were accepted at the same moment.
fn account_made_meanwhile(error: StoreError) -> Error {
    match error {
        StoreError::AlreadyExists { .. } => {
            Error::conflict("already_exists", "the invited address was given an account just now")
                .hint("accept again, with the password of that account")
        }
        error => store_failed(error),
    }
}

/// Hashes a password away from the threads that serve requests: it takes tens of milliseconds.
pub(crate) async fn hash(password: SecretString) -> Result<String> {
    tokio::task::spawn_blocking(move || hash_password(&password))
        .await
        .map_err(Error::internal)?
        .map_err(|error| Error::invalid_field("/password", "cannot be used").caused_by(error))
}

async fn verify(password: SecretString, stored: Option<String>) -> Result<PasswordCheck> {
    tokio::task::spawn_blocking(move || verify_password(&password, stored.as_deref()))
        .await
        .map_err(Error::internal)?
        .map_err(Error::internal)
}
