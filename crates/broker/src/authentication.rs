//! From a token to an actor.
//!
//! Tokens are looked up by their hash. A revoked token stops working at once, so what was found is
//! not kept, but for the tokens of jobs and workloads: they are on the hot path, and `leases`
//! forgets them whenever one of them ends.

use std::net::IpAddr;

use keyferry_domain::actor::{Identity, Via};
use keyferry_domain::id::RequestId;
use keyferry_domain::token::{Token, TokenKind};
use keyferry_domain::{Actor, Error, Result, Timestamp};
use keyferry_store::{jobs, runners, sessions, tokens, users, workloads};
use keyferry_vault::hash_token;

use crate::Broker;
use crate::failure::store_failed;

impl Broker {
    /// Finds out who a token stands for. Wrong, expired and revoked tokens get the same answer.
    pub async fn authenticate(
        &self,
        token: &str,
        request: RequestId,
        address: Option<IpAddr>,
    ) -> Result<Actor> {
        let token = Token::parse(token).map_err(|error| refused().caused_by(error))?;
        let hash = hash_token(&token);
        let is_holder = matches!(token.kind(), TokenKind::Job | TokenKind::Workload);
        if is_holder && let Some(identity) = self.leases.identity(&hash).await {
            return Ok(Actor { identity, request, address });
        }
        let generation = self.leases.generation();
        let identity = match token.kind() {
            TokenKind::Session => self.session_identity(&hash).await?,
            TokenKind::Personal | TokenKind::Runner => self.token_identity(&hash).await?,
            TokenKind::Job => self.job_identity(&hash).await?,
            TokenKind::Workload => self.workload_identity(&hash).await?,
            TokenKind::Setup => None,
        };
        let identity = identity.ok_or_else(refused)?;
        if is_holder {
            self.leases.keep_identity(generation, hash, identity.clone()).await;
        }
        Ok(Actor { identity, request, address })
    }

    async fn session_identity(&self, hash: &str) -> Result<Option<Identity>> {
        let now = self.clock.now();
        let Some(session) =
            sessions::find_by_hash(&self.store, hash).await.map_err(store_failed)?
        else {
            return Ok(None);
        };
        if session.ended_at.is_some() || session.expires_at <= now {
            return Ok(None);
        }
        if self.active_user(&session.user_id).await?.is_none() {
            return Ok(None);
        }
        if is_a_minute_old(session.last_used_at, now) {
            sessions::touch(&self.store, &session.id, now).await.map_err(store_failed)?;
        }
        Ok(Some(Identity::User { user: session.user_id, via: Via::Session(session.id) }))
    }

    async fn token_identity(&self, hash: &str) -> Result<Option<Identity>> {
        let now = self.clock.now();
        let Some(token) = tokens::find_by_hash(&self.store, hash).await.map_err(store_failed)?
        else {
            return Ok(None);
        };
        if token.revoked_at.is_some() || token.expires_at.is_some_and(|end| end <= now) {
            return Ok(None);
        }
        if is_a_minute_old(token.last_used_at, now) {
            tokens::touch(&self.store, &token.id, now).await.map_err(store_failed)?;
        }
        match (token.kind, token.user_id, token.runner_id) {
            (TokenKind::Personal, Some(user), None) => {
                if self.active_user(&user).await?.is_none() {
                    return Ok(None);
                }
                Ok(token.organization_id.map(|organization| Identity::User {
                    user,
                    via: Via::Token { token: token.id, organization },
                }))
            }
            (TokenKind::Runner, None, Some(runner)) => {
                let known =
                    runners::find_anywhere(&self.store, &runner).await.map_err(store_failed)?;
                Ok(known
                    .map(|known| Identity::Runner { runner, organization: known.organization_id }))
            }
            _ => Ok(None),
        }
    }

    async fn job_identity(&self, hash: &str) -> Result<Option<Identity>> {
        let job = jobs::find_by_token(&self.store, hash).await.map_err(store_failed)?;
        Ok(job.filter(|job| !job.state.is_over()).map(|job| Identity::Job {
            organization: job.organization_id,
            run: job.run_id,
            job: job.id,
        }))
    }

    async fn workload_identity(&self, hash: &str) -> Result<Option<Identity>> {
        let now = self.clock.now();
        let workload = workloads::find_by_token(&self.store, hash).await.map_err(store_failed)?;
        Ok(workload
            .filter(|workload| workload.ended_at.is_none() && workload.expires_at > now)
            .map(|workload| Identity::Workload {
                organization: workload.organization_id,
                workload: workload.id,
            }))
    }

    /// Finds a user who has not been disabled.
    pub(crate) async fn active_user(
        &self,
        user: &keyferry_domain::id::UserId,
    ) -> Result<Option<users::UserRecord>> {
        let user = users::find(&self.store, user).await.map_err(store_failed)?;
        Ok(user.filter(|user| user.disabled_at.is_none()))
    }
}

fn refused() -> Error {
    Error::unauthenticated("this token does not work: it is mistyped, expired, revoked or ended")
        .hint("sign in again with `keyferry login`, or make a new token")
}

fn is_a_minute_old(moment: Option<Timestamp>, now: Timestamp) -> bool {
    moment.is_none_or(|moment| now.since(moment).as_secs() >= 60)
}
