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

use super::doorbell::Patience;
use super::finish::End;
use super::{HEARTBEAT_LIMIT, LONGEST_WAIT};
use crate::Broker;
use crate::access::Subject;
use crate::audit::Event;
use crate::failure::store_failed;
use crate::leases::{Reach, address_of, ca_certificate_of};

/// How often a job is given out anew because nothing was heard of who had claimed it. Then it is
/// more likely the job, or the way to its runners, than bad luck.
const MAX_LOST_CLAIMS: i64 = 3;

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
    /// Certificates in PEM that the service is trusted by there, instead of the system's.
    pub ca_certificate: Option<String>,
    /// Whether the service merges by a call of its own.
    pub can_merge: bool,
    /// Whether branches can be deleted through it without a clone.
    pub can_delete_branches: bool,
}

impl Broker {
    /// Gives the calling runner a job; waits up to `wait` for one, half a minute at most.
    pub async fn claim_job(
        &self,
        actor: &Actor,
        isolation: Isolation,
        wait: Duration,
    ) -> Result<Option<ClaimedJob>> {
        let Identity::Runner { runner, organization } = &actor.identity else {
            let reason = "only runners claim jobs";
            let event = Event::refused("runner.claim", Target::new("runner", "none"), reason);
            self.record(actor, None, event).await?;
            return Err(Error::denied("not_a_runner", reason)
                .hint("register one with `keyferry runner register`"));
        };
        // The server's own runner serves every organization; its token was checked already.
        if let Some(organization) = organization {
            self.allow(actor, organization, Action::RunnerClaim, &Subject::Organization).await?;
        }
        if wait > LONGEST_WAIT {
            return Err(Error::invalid_field("/wait_seconds", "is not between 0 and 30"));
        }
        runners::touch(&self.store, runner, isolation, self.clock.now())
            .await
            .map_err(store_failed)?;
        let patience = Patience::new(wait);
        loop {
            let news = self.jobs.await_jobs();
            if let Some(claimed) =
                self.claim_one(actor, runner, organization.as_ref(), isolation).await?
            {
                return Ok(Some(claimed));
            }
            if !patience.wait(news).await {
                return Ok(None);
            }
        }
    }

    /// Gives the runner the job that has waited longest. A job that would be refused a connection
    /// by now is taken back and fails, before anything of it leaves.
    async fn claim_one(
        &self,
        actor: &Actor,
        runner: &RunnerId,
        organization: Option<&OrganizationId>,
        isolation: Isolation,
    ) -> Result<Option<ClaimedJob>> {
        loop {
            let now = self.clock.now();
            let token = Token::generate(TokenKind::Job, &*self.random);
            let claim = Claim {
                runner: runner.clone(),
                organization: organization.cloned(),
                isolation,
                token_hash: hash_token(&token),
                heartbeat_due_at: now.plus(HEARTBEAT_LIMIT),
            };
            let mut change = self.store.begin().await.map_err(store_failed)?;
            let claimed = jobs::claim_job(&mut change, &claim, now).await.map_err(store_failed)?;
            let Some(job) = claimed else { return Ok(None) };
            let event = Event::done("job.claim", Target::new("job", &job.id))
                .with("run", &job.run_id)
                .with("isolation", isolation);
            self.commit(change, actor, Some(&job.organization_id), event).await?;
            let context = self.job_context(&job.organization_id, &job.run_id, &job.id).await?;
            if let Some(refusal) = context.first_refusal() {
                self.refuse_job(actor, job, refusal).await?;
                continue;
            }
            self.advance_run(actor, &job.organization_id, &job.run_id).await?;
            return Ok(Some(ClaimedJob {
                job: job.id,
                run: job.run_id,
                organization: job.organization_id,
                attempt: job.attempt,
                token: token.text().clone(),
                plan: job.plan,
                connections: context.reaches().map(held).collect(),
            }));
        }
    }

    /// Has a job wait again that a runner claimed and never spoke of: the runner died at that
    /// moment, or the answer to its claim was lost. It is the same attempt, since nothing of it has
    /// run: a runner starts with a sign of life, and runs nothing before that was taken. `false`
    /// when the job has to be given up instead.
    pub(super) async fn take_back_claim(&self, actor: &Actor, job: &JobRecord) -> Result<bool> {
        if job.heard_at.is_some() || job.lost_claims >= MAX_LOST_CLAIMS {
            return Ok(false);
        }
        let mut change = self.store.begin().await.map_err(store_failed)?;
        let is_taken_back = jobs::requeue_unheard(&mut change, job, self.clock.now())
            .await
            .map_err(store_failed)?;
        if !is_taken_back {
            return Ok(false);
        }
        let mut event = Event::done("job.requeue", Target::new("job", &job.id))
            .with("run", &job.run_id)
            .with("lost_claims", job.lost_claims + 1);
        if let Some(runner) = &job.runner_id {
            event = event.with("runner", runner);
        }
        let organization = &job.organization_id;
        self.commit(change, actor, Some(organization), event).await?;
        // The claim's token is known no more, should its runner come back.
        self.leases.forget_holder(job.id.as_str());
        self.advance_run(actor, organization, &job.run_id).await?;
        self.jobs.ring_jobs();
        Ok(true)
    }

    async fn refuse_job(&self, actor: &Actor, job: JobRecord, refusal: String) -> Result<()> {
        let event = Event::refused("job.claim", Target::new("job", &job.id), &refusal)
            .with("run", &job.run_id);
        self.end_job_with(actor, job, End::refused(event, refusal)).await.map(drop)
    }
}

fn held(reach: &Reach) -> JobConnection {
    let can = |capability| reach.provider.kind().capabilities.contains(&capability);
    JobConnection {
        id: reach.connection.id.clone(),
        connection_type: reach.provider.kind().id,
        address: address_of(reach.provider, &reach.connection.settings),
        ca_certificate: ca_certificate_of(&reach.connection.settings),
        can_merge: can(Capability::Merge),
        can_delete_branches: can(Capability::Branches),
    }
}
