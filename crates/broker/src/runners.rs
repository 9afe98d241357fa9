//! Runners: registering programs that execute jobs.

use std::time::Duration;

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
use keyferry_store::{Change, StoreError, jobs, runners, tokens};
use keyferry_vault::hash_token;

use crate::Broker;
use crate::access::{Subject, only_the_system};
use crate::audit::Event;
use crate::failure::store_failed;
use crate::names::check_name;

/// How long the runner of a server may be silent before it counts as left behind. It asks for jobs
/// twice a minute.
const SILENCE: Duration = Duration::from_mins(10);

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

    /// Registers the runner inside this server, which serves every organization. Each server on a
    /// database has its own; those that servers left behind when they died are deleted.
    pub async fn start_embedded_runner(&self, actor: &Actor) -> Result<NewRunner> {
        only_the_system(actor)?;
        let now = self.clock.now();
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let mut events = Vec::new();
        for runner in runners::list_embedded(&mut change).await.map_err(store_failed)? {
            let heard = runner.last_seen_at.unwrap_or(runner.created_at);
            if now.since(heard) <= SILENCE {
                continue;
            }
            // One that is busy asks for nothing. When its jobs are lost too, it is dead.
            let held = jobs::list_running_by_runner(&mut change, &runner.id)
                .await
                .map_err(store_failed)?;
            if held.is_empty() && self.retire_embedded(&mut change, &runner).await? {
                events.push((None, Event::done("runner.stop", Target::new("runner", &runner.id))));
            }
        }
        let record = self.new_runner(None, "inside the server".to_owned());
        runners::create(&mut change, &record).await.map_err(store_failed)?;
        let token = self.add_token(&mut change, &record).await?;
        events.push((None, Event::done("runner.start", Target::new("runner", &record.id))));
        self.commit_all(change, actor, events).await?;
        Ok(NewRunner { token, record })
    }

    /// Deletes the runner inside this server, once it has ended its jobs.
    pub async fn stop_embedded_runner(&self, actor: &Actor, id: &RunnerId) -> Result<()> {
        only_the_system(actor)?;
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let found = runners::find_anywhere(&mut change, id).await.map_err(store_failed)?;
        let Some(runner) = found.filter(|runner| runner.organization_id.is_none()) else {
            return Err(Error::not_found(format!("runner `{id}`")));
        };
        if !self.retire_embedded(&mut change, &runner).await? {
            return Ok(());
        }
        let event = Event::done("runner.stop", Target::new("runner", id));
        self.commit(change, actor, None, event).await
    }

    /// Deletes a runner of a server, and its token; `false` when another server was quicker.
    async fn retire_embedded(&self, change: &mut Change, runner: &RunnerRecord) -> Result<bool> {
        let now = self.clock.now();
        let gone = RunnerRecord { deleted_at: Some(now), ..runner.clone() };
        match runners::update(&mut *change, &gone).await {
            Ok(_) => {}
            Err(StoreError::Stale { .. }) => return Ok(false),
            Err(error) => return Err(store_failed(error)),
        }
        tokens::revoke_by_runner(change, &runner.id, now).await.map_err(store_failed)?;
        Ok(true)
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
