//! Giving a job to a runner.

use std::time::Duration;

use keyferry_domain::actor::Identity;
use keyferry_domain::audit::Target;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{JobId, OrganizationId, RunId, RunnerId};
use keyferry_domain::run::Isolation;
use keyferry_domain::secret::SecretString;
use keyferry_domain::token::{Token, TokenKind};
use keyferry_domain::{Actor, Error, Result};
use keyferry_policy::Action;
use keyferry_providers::provider::Capability;
use keyferry_store::jobs::{Claim, JobRecord};
use keyferry_store::{jobs, runners};
use keyferry_vault::hash_token;

use super::HEARTBEAT_LIMIT;
use crate::Broker;
use crate::access::Subject;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::leases::{Grant, address_of};

/// A job in a runner's hands.
#[derive(Debug)]
pub struct ClaimedJob {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: RunId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Counts tries from 1.
    pub attempt: i64,
    /// What the runner speaks with for this job; not kept.
    pub token: SecretString,
    /// What to execute: a `JobPlan`.
    pub plan: serde_json::Value,
    /// What the job may use.
    pub connections: Vec<JobConnection>,
}

/// A connection that a job may use.
#[derive(Debug, Clone)]
pub struct JobConnection {
    /// The connection.
    pub id: ConnectionId,
    /// Its type.
    pub connection_type: &'static str,
    /// The address below which helpers answer for it.
    pub address: Option<String>,
    /// Whether the service merges by a call of its own.
    pub can_merge: bool,
    /// Whether branches can be deleted through it without a clone.
    pub can_delete_branches: bool,
}

impl Broker {
    /// Gives the calling runner a job; waits up to `wait` for one.
    pub async fn claim_job(
        &self,
        actor: &Actor,
        isolation: Isolation,
        wait: Duration,
    ) -> Result<Option<ClaimedJob>> {
        let Identity::Runner { runner, organization } = &actor.identity else {
            return Err(Error::denied("not_a_runner", "only runners claim jobs")
                .hint("register one with `keyferry runner register`"));
        };
        // The server's own runner serves every organization; its token was checked already.
        if let Some(organization) = organization {
            self.allow(actor, organization, Action::RunnerClaim, &Subject::Organization).await?;
        }
        let now = self.clock.now();
        runners::touch(&self.store, runner, isolation, now).await.map_err(store_failed)?;
        let deadline = now.plus(wait);
        loop {
            let mut news = self.jobs.await_jobs();
            if let Some(claimed) =
                self.claim_one(actor, runner, organization.as_ref(), isolation).await?
            {
                return Ok(Some(claimed));
            }
            let left = deadline.since(self.clock.now());
            if left.is_zero() {
                return Ok(None);
            }
            news.wait(left).await;
        }
    }

    async fn claim_one(
        &self,
        actor: &Actor,
        runner: &RunnerId,
        organization: Option<&OrganizationId>,
        isolation: Isolation,
    ) -> Result<Option<ClaimedJob>> {
        let now = self.clock.now();
        let token = Token::generate(TokenKind::Job, &*self.random);
        let claim = Claim {
            runner: runner.clone(),
            organization: organization.cloned(),
            isolation,
            token_hash: hash_token(&token),
            heartbeat_due_at: now.plus(HEARTBEAT_LIMIT),
        };
        let Some(job) = jobs::claim_job(&self.store, &claim, now).await.map_err(store_failed)? else {
            return Ok(None);
        };
        let event = Event::done("job.claim", Target::new("job", &job.id))
            .with("run", &job.run_id)
            .with("isolation", isolation);
        self.record(actor, Some(&job.organization_id), event).await?;
        self.advance_run(actor, &job.organization_id, &job.run_id).await?;
        let connections = self.job_connections(&job).await?;
        Ok(Some(ClaimedJob {
            job: job.id,
            run: job.run_id,
            organization: job.organization_id,
            attempt: job.attempt,
            token: token.text().clone(),
            plan: job.plan,
            connections,
        }))
    }

    async fn job_connections(&self, job: &JobRecord) -> Result<Vec<JobConnection>> {
        let context = self.job_context(&job.organization_id, &job.run_id, &job.id).await?;
        Ok(context.grants().map(held).collect())
    }
}

fn held(grant: &Grant) -> JobConnection {
    let can = |capability| grant.provider.kind().capabilities.contains(&capability);
    JobConnection {
        id: grant.connection.id.clone(),
        connection_type: grant.provider.kind().id,
        address: address_of(grant.provider, &grant.connection.settings),
        can_merge: can(Capability::Merge),
        can_delete_branches: can(Capability::Branches),
    }
}
