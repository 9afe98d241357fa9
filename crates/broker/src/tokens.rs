//! API tokens of people.

use std::time::Duration;

use keyferry_domain::audit::Target;
use keyferry_domain::id::{OrganizationId, TokenId};
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::secret::SecretString;
use keyferry_domain::token::{Token, TokenKind};
use keyferry_domain::{Actor, Error, Result};
use keyferry_policy::Action;
use keyferry_store::tokens;
pub use keyferry_store::tokens::TokenRecord;
use keyferry_store::tokens::TokenFilter;
use keyferry_vault::hash_token;

use crate::Broker;
use crate::access::Subject;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::names::check_name;

/// Days that a token works when nobody says.
const DEFAULT_DAYS: u32 = 30;

/// A token that was made just now.
#[derive(Debug)]
pub struct NewToken {
    /// Its text; not kept.
    pub text: SecretString,
    /// What can be listed later.
    pub record: TokenRecord,
}

impl Broker {
    /// Makes an API token for the caller, with their role in this one organization.
    pub async fn create_token(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        name: &str,
        expires_in_days: Option<u32>,
    ) -> Result<NewToken> {
        self.allow(actor, organization, Action::TokenCreate, &Subject::Organization).await?;
        let user = actor.user().ok_or_else(|| Error::internal("a token without a person"))?;
        let name = check_name("/name", name)?;
        let days = expires_in_days.unwrap_or(DEFAULT_DAYS);
        if !(1..=366).contains(&days) {
            return Err(Error::invalid_field("/expires_in_days", "is not between 1 and 366"));
        }
        let now = self.clock.now();
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
            expires_at: Some(now.plus(Duration::from_secs(u64::from(days) * 24 * 60 * 60))),
            last_used_at: None,
            revoked_at: None,
        };
        tokens::create(&self.store, &record).await.map_err(store_failed)?;
        let event =
            Event::done("token.create", Target::new("token", &record.id)).with("days", days);
        self.record(actor, Some(organization), event).await?;
        Ok(NewToken { text: token.text().clone(), record })
    }

    /// Lists the caller's tokens; those who manage people see everyone's.
    pub async fn list_tokens(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<TokenRecord>> {
        self.allow(actor, organization, Action::TokenList, &Subject::Organization).await?;
        let sees_all =
            self.may(actor, organization, Action::MemberCreate, &Subject::Organization).await?;
        let filter = TokenFilter {
            kind: Some(TokenKind::Personal),
            user: if sees_all { None } else { actor.user().cloned() },
        };
        tokens::list(&self.store, organization, &filter, page).await.map_err(store_failed)
    }

    /// Revokes a token; it stops working at once.
    pub async fn delete_token(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &TokenId,
    ) -> Result<()> {
        let missing = || Error::not_found(format!("token `{id}`"));
        let token = tokens::find(&self.store, organization, id).await.map_err(store_failed)?;
        let token = token.filter(|token| token.revoked_at.is_none()).ok_or_else(missing)?;
        let owner = token.user_id.ok_or_else(missing)?;
        let subject = Subject::Token { token: id.clone(), owner };
        self.allow(actor, organization, Action::TokenDelete, &subject).await?;
        let now = self.clock.now();
        tokens::revoke(&self.store, organization, id, now).await.map_err(store_failed)?;
        let event = Event::done("token.revoke", Target::new("token", id));
        self.record(actor, Some(organization), event).await
    }
}
