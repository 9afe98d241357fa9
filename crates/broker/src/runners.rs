//! Runners: registering programs that execute jobs.

use keyferry_domain::actor::Identity;
use keyferry_domain::audit::Target;
use keyferry_domain::id::{OrganizationId, RunnerId, TokenId};
use keyferry_domain::page::{Page, PageRequest};
use keyferry_domain::run::JobState;
use keyferry_domain::secret::SecretString;
use keyferry_domain::token::{Token, TokenKind};
use keyferry_domain::{Actor, Error, Result};
use keyferry_policy::Action;
pub use keyferry_store::runners::RunnerRecord;
use keyferry_store::tokens::TokenRecord;
use keyferry_store::{Change, jobs, runners, tokens};
use keyferry_vault::hash_token;

use crate::Broker;
use crate::access::Subject;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::names::check_name;

/// A runner that was registered just now.
#[derive(Debug)]
pub struct NewRunner {
    /// What it signs in with; not kept.
    pub token: SecretString,
    /// What can be listed later.
    pub record: RunnerRecord,
}

impl Broker {
    /// Registers a runner of an organization.
    pub async fn create_runner(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        name: &str,
    ) -> Result<NewRunner> {
        self.allow(actor, organization, Action::RunnerRegister, &Subject::Organization).await?;
        let name = check_name("/name", name)?;
        let record = self.new_runner(Some(organization), name);
        let mut change = self.store.begin().await.map_err(store_failed)?;
        runners::create(&mut change, &record).await.map_err(store_failed)?;
        let token = self.add_token(&mut change, &record).await?;
        let event = Event::done("runner.create", Target::new("runner", &record.id));
        self.commit(change, actor, Some(organization), event).await?;
        Ok(NewRunner { token, record })
    }

    /// Lists the runners of an organization.
    pub async fn list_runners(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<RunnerRecord>> {
        self.allow(actor, organization, Action::RunnerList, &Subject::Organization).await?;
        runners::list(&self.store, organization, page).await.map_err(store_failed)
    }

    /// Deletes a runner; its token stops working at once, and the jobs that it has are over, with
    /// their tokens and leases.
    pub async fn delete_runner(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        id: &RunnerId,
    ) -> Result<()> {
        let mut runner = runners::find(&self.store, organization, id)
            .await
            .map_err(store_failed)?
            .ok_or_else(|| Error::not_found(format!("runner `{id}`")))?;
        self.allow(actor, organization, Action::RunnerDelete, &Subject::Runner(id.clone())).await?;
        let now = self.clock.now();
        runner.deleted_at = Some(now);
        let mut change = self.store.begin().await.map_err(store_failed)?;
        runners::update(&mut change, &runner).await.map_err(store_failed)?;
        tokens::revoke_by_runner(&mut change, id, now).await.map_err(store_failed)?;
        let event = Event::done("runner.delete", Target::new("runner", id));
        self.commit(change, actor, Some(organization), event).await?;
        let held = jobs::list_running_by_runner(&self.store, id).await.map_err(store_failed)?;
        for job in held {
            let reason = Some("its runner was deleted".to_owned());
            self.end_job(actor, job, JobState::Failed, reason).await?;
        }
        Ok(())
    }

    /// Makes the token of the runner inside the server, which serves every organization. The one
    /// of the start before stops working.
    pub async fn embedded_runner_token(&self, actor: &Actor) -> Result<SecretString> {
        if actor.identity != Identity::System {
            return Err(Error::denied("system_only", "this is done on the server's machine only"));
        }
        let now = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let known = runners::list_embedded(&mut change).await.map_err(store_failed)?;
        let runner = if let Some(runner) = known.into_iter().next() {
            tokens::revoke_by_runner(&mut change, &runner.id, now).await.map_err(store_failed)?;
            runner
        } else {
            let runner = self.new_runner(None, "inside the server".to_owned());
            runners::create(&mut change, &runner).await.map_err(store_failed)?;
            runner
        };
        let token = self.add_token(&mut change, &runner).await?;
        let event = Event::done("runner.start", Target::new("runner", &runner.id));
        self.commit(change, actor, None, event).await?;
        Ok(token)
    }

    fn new_runner(&self, organization: Option<&OrganizationId>, name: String) -> RunnerRecord {
        RunnerRecord {
            id: RunnerId::generate(&*self.clock, &*self.random),
            organization_id: organization.cloned(),
            name,
            isolation: None,
            created_at: self.clock.now(),
            last_seen_at: None,
            deleted_at: None,
            version: 1,
        }
    }

    async fn add_token(&self, change: &mut Change, runner: &RunnerRecord) -> Result<SecretString> {
        let token = Token::generate(TokenKind::Runner, &*self.random);
        let record = TokenRecord {
            id: TokenId::generate(&*self.clock, &*self.random),
            organization_id: runner.organization_id.clone(),
            user_id: None,
            runner_id: Some(runner.id.clone()),
            kind: TokenKind::Runner,
            name: runner.name.clone(),
            hash: hash_token(&token),
            hint: token.hint(),
            created_at: self.clock.now(),
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
        };
        tokens::create(change, &record).await.map_err(store_failed)?;
        Ok(token.text().clone())
    }
}
