//! API tokens of people.

use std::time::Duration;

use keyferry_domain::actor::{Identity, Via};
use keyferry_domain::audit::Target;
use keyferry_domain::id::{OrganizationId, TokenId, UserId};
use keyferry_domain::page::{MAX_LIMIT, Page, PageRequest};
use keyferry_domain::secret::SecretString;
use keyferry_domain::token::{Token, TokenKind};
use keyferry_domain::{Actor, Error, Result, Timestamp};
use keyferry_policy::Action;
use keyferry_store::tokens::{TokenFilter, TokenRecord};
use keyferry_store::{Change, tokens, workloads};
use keyferry_vault::hash_token;

use crate::Broker;
use crate::access::Subject;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::names::check_name;
use crate::workloads::end_leases_of;

/// Days that a token works when nobody says.
const DEFAULT_DAYS: u32 = 30;

/// Days that a token works at most.
const MAX_DAYS: u32 = 366;

/// Tokens of one person in one organization at most, of those that work. More are a loop that
/// makes one for each of its rounds.
const MAX_TOKENS: usize = 100;

/// A person's token without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonalToken {
    /// Its id.
    pub id: TokenId,
    /// Whose it is.
    pub user: UserId,
    /// What it is for.
    pub name: String,
    /// Its first characters.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// A token that was made just now.
#[derive(Debug)]
pub struct NewToken {
    /// Its text; not kept.
    pub text: SecretString,
    /// What can be listed later.
    pub token: PersonalToken,
}

impl Broker {
    /// Makes an API token for the caller, with their role in this one organization. Done in a
    /// session only: a token that could make tokens would outlive its own end.
    pub async fn create_token(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        name: &str,
        expires_in_days: Option<u32>,
    ) -> Result<NewToken> {
        self.allow(actor, organization, Action::TokenCreate, &Subject::Organization).await?;
        let Identity::User { user, via: Via::Session(_) } = &actor.identity else {
            let target = Target::new("organization", organization);
            let event = Event::refused("token.create", target, "not made in a session");
            self.record(actor, Some(organization), event).await?;
            return Err(Error::denied("session_needed", "an API token is made in a session")
                .hint("sign in with `keyferry login`"));
        };
        let name = check_name("/name", name)?;
        let days = expires_in_days.unwrap_or(DEFAULT_DAYS);
        if !(1..=MAX_DAYS).contains(&days) {
            let message = format!("is not between 1 and {MAX_DAYS}");
            return Err(Error::invalid_field("/expires_in_days", message));
        }
        let now = self.clock.now();
        let expires_at = now.plus(Duration::from_secs(u64::from(days) * 24 * 60 * 60));
        let token = Token::generate(TokenKind::Personal, &*self.random);
        let record = TokenRecord {
            id: TokenId::generate(&*self.clock, &*self.random),
            organization_id: Some(organization.clone()),
            user_id: Some(user.clone()),
            runner_id: None,
            kind: TokenKind::Personal,
            name,
            hash: hash_token(&token),
            hint: token.hint(),
            created_at: now,
            expires_at: Some(expires_at),
            last_used_at: None,
            revoked_at: None,
        };
        let mut change = self.store.begin().await.map_err(store_failed)?;
        if count_working(&mut change, organization, user, now).await? >= MAX_TOKENS {
            let message = format!("you have {MAX_TOKENS} tokens that work already");
            return Err(Error::conflict("too_many_tokens", message)
                .hint("revoke those that nothing uses: `keyferry token list`"));
        }
        tokens::create(&mut change, &record).await.map_err(store_failed)?;
        let event =
            Event::done("token.create", Target::new("token", &record.id)).with("days", days);
        self.commit(change, actor, Some(organization), event).await?;
        Ok(NewToken { text: token.text().clone(), token: personal(record)? })
    }

    /// Lists the caller's tokens; those who may see other people's get everyone's.
    pub async fn list_tokens(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<PersonalToken>> {
        self.allow(actor, organization, Action::TokenList, &Subject::Organization).await?;
        // Asked about a token of nobody, so that it is not one of their own.
        let somebodys = Subject::Token {
            token: TokenId::generate(&*self.clock, &*self.random),
            owner: UserId::generate(&*self.clock, &*self.random),
        };
        let sees_all = self.may(actor, organization, Action::TokenRead, &somebodys).await?;
        let filter = TokenFilter {
            kind: Some(TokenKind::Personal),
            user: if sees_all { None } else { actor.user().cloned() },
        };
        let found =
            tokens::list(&self.store, organization, &filter, page).await.map_err(store_failed)?;
        let items = found.items.into_iter().map(personal).collect::<Result<_>>()?;
        Ok(Page { items, next_cursor: found.next_cursor })
    }

    /// Revokes a token; it stops working at once, and so do the workloads started with it.
    pub async fn delete_token(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &TokenId,
    ) -> Result<()> {
        let missing = || Error::not_found(format!("token `{id}`"));
        let token = tokens::find(&self.store, organization, id).await.map_err(store_failed)?;
        let token = token.filter(|token| token.revoked_at.is_none()).ok_or_else(missing)?;
        // A runner's token ends with its runner.
        let owner = token.user_id.ok_or_else(missing)?;
        let subject = Subject::Token { token: id.clone(), owner };
        self.allow(actor, organization, Action::TokenDelete, &subject).await?;
        let now = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        if !tokens::revoke(&mut change, organization, id, now).await.map_err(store_failed)? {
            return Err(missing());
        }
        let ended = workloads::end_by_token(&mut change, organization, id, now)
            .await
            .map_err(store_failed)?;
        let ended = end_leases_of(&mut change, &ended, now).await?;
        let event = Event::done("token.revoke", Target::new("token", id))
            .with("workloads_ended", ended.len());
        self.commit_ends(change, actor, vec![(Some(organization), event)], &ended).await
    }
}

/// Counts a person's tokens that work; gives up counting where it does not matter any more.
async fn count_working(
    change: &mut Change,
    organization: &OrganizationId,
    user: &UserId,
    now: Timestamp,
) -> Result<usize> {
    let filter = TokenFilter { kind: Some(TokenKind::Personal), user: Some(user.clone()) };
    let mut request = PageRequest { limit: MAX_LIMIT, cursor: None };
    let mut count = 0;
    loop {
        let page = tokens::list(&mut *change, organization, &filter, &request)
            .await
            .map_err(store_failed)?;
        let works = |token: &&TokenRecord| token.expires_at.is_none_or(|end| end > now);
        count += page.items.iter().filter(works).count();
        if count >= MAX_TOKENS || page.next_cursor.is_none() {
            return Ok(count);
        }
        request.cursor = page.next_cursor;
    }
}

fn personal(record: TokenRecord) -> Result<PersonalToken> {
    let (Some(user), Some(expires_at)) = (record.user_id, record.expires_at) else {
        return Err(Error::internal("a person's token without a person or an end"));
    };
    Ok(PersonalToken {
        id: record.id,
        user,
        name: record.name,
        hint: record.hint,
        created_at: record.created_at,
        expires_at,
        last_used_at: record.last_used_at,
    })
}
