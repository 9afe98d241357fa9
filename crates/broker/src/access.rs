//! May they? The one place where the broker asks the policy, writes refusals down, and decides how
//! much a refusal tells.

use keyferry_domain::actor::{Identity, Via};
use keyferry_domain::audit::Target;
use keyferry_domain::id::{OrganizationId, UserId};
use keyferry_domain::{Actor, Error, Result};
use keyferry_policy::{Action, Decision, Facts, Principal, Request, Resource};
use keyferry_store::{groups, jobs, members, organizations, runners, workloads};

use crate::Broker;
use crate::audit::Event;
use crate::failure::store_failed;

/// What is asked about, with what the policies need to know of it.
pub(crate) use keyferry_policy::Target as Subject;

/// Refuses everybody but the server itself.
pub(crate) fn only_the_system(actor: &Actor) -> Result<()> {
    if actor.identity == Identity::System {
        return Ok(());
    }
    Err(Error::denied("system_only", "this is done on the server's machine only"))
}

impl Broker {
    /// Returns when the actor may do this, else writes the refusal down and fails. Somebody who
    /// may not even see the thing is told that it does not exist.
    pub(crate) async fn allow(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        action: Action,
        subject: &Subject,
    ) -> Result<()> {
        self.allow_with(actor, organization, action, subject, Facts::default()).await
    }

    /// Like [`Self::allow`], with facts that were looked up.
    pub(crate) async fn allow_with(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        action: Action,
        subject: &Subject,
        facts: Facts,
    ) -> Result<()> {
        let principal = self.principal(actor, organization).await?;
        let request = question(principal, organization, action, subject, facts);
        match self.policy.decide(&request) {
            Decision::Allow { .. } => Ok(()),
            decision @ Decision::Deny { .. } => {
                Err(self.refuse(actor, &request, &decision).await?)
            }
        }
    }

    /// Tells whether the actor may do this, without writing anything down: for lists, and for
    /// what else to show.
    pub(crate) async fn may(
        &self,
        actor: &Actor,
        organization: &OrganizationId,
        action: Action,
        subject: &Subject,
    ) -> Result<bool> {
        let principal = self.principal(actor, organization).await?;
        let request = question(principal, organization, action, subject, Facts::default());
        Ok(self.policy.decide(&request).is_allowed())
    }

    /// Answers "may this person do this, and if not why not", by the same function that decides.
    pub(crate) async fn explain(
        &self,
        user: &UserId,
        organization: &OrganizationId,
        action: Action,
        subject: &Subject,
    ) -> Result<Decision> {
        let principal = self.member(user, organization).await?;
        Ok(self.policy.decide(&question(
            principal,
            organization,
            action,
            subject,
            Facts::default(),
        )))
    }

    /// Writes a refusal down and makes the error that the caller may see.
    async fn refuse(&self, actor: &Actor, request: &Request, decision: &Decision) -> Result<Error> {
        let organization = &request.resource.organization;
        let target = audit_target(organization, &request.resource.target);
        let event = Event::refused(request.action.as_str(), target, &decision.sentence());
        // An organization's record shows nothing about organizations that do not exist.
        let exists =
            organizations::find(&self.store, organization).await.map_err(store_failed)?.is_some();
        self.record(actor, exists.then_some(organization), event).await?;
        Ok(visible_error(&self.policy, request, decision))
    }

    /// Looks up what the policies need to know about the actor.
    async fn principal(&self, actor: &Actor, organization: &OrganizationId) -> Result<Principal> {
        Ok(match &actor.identity {
            Identity::Anonymous => {
                return Err(Error::unauthenticated("this needs a token")
                    .hint("sign in with `keyferry login`"));
            }
            Identity::User { user, via: Via::Session(_) } => {
                self.member(user, organization).await?
            }
            Identity::User { user, via: Via::Token { organization: own, .. } } => {
                let principal = self.member(user, own).await?;
                if own == organization { principal } else { stranger(user, own) }
            }
            Identity::Job { organization, job, .. } => {
                let found =
                    jobs::find(&self.store, organization, job).await.map_err(store_failed)?;
                Principal::Job {
                    job: job.clone(),
                    organization: organization.clone(),
                    is_over: found.is_none_or(|job| job.state.is_over()),
                }
            }
            Identity::Workload { organization, workload } => {
                let found = workloads::find(&self.store, organization, workload)
                    .await
                    .map_err(store_failed)?;
                let now = self.clock.now();
                Principal::Workload {
                    workload: workload.clone(),
                    organization: organization.clone(),
                    is_over: found
                        .is_none_or(|found| found.ended_at.is_some() || found.expires_at <= now),
                }
            }
            Identity::Runner { runner, organization } => {
                let found =
                    runners::find_anywhere(&self.store, runner).await.map_err(store_failed)?;
                Principal::Runner {
                    runner: runner.clone(),
                    organization: organization.clone(),
                    is_deleted: found.is_none(),
                }
            }
            Identity::System => Principal::System,
        })
    }

    /// Looks a person up as a member of an organization.
    async fn member(&self, user: &UserId, organization: &OrganizationId) -> Result<Principal> {
        let member = members::find(&self.store, organization, user).await.map_err(store_failed)?;
        let groups = match member {
            Some(_) => {
                groups::list_by_user(&self.store, organization, user).await.map_err(store_failed)?
            }
            None => Vec::new(),
        };
        Ok(Principal::User {
            user: user.clone(),
            organization: organization.clone(),
            role: member.map(|member| member.role),
            groups,
            is_disabled: self.active_user(user).await?.is_none(),
        })
    }
}

/// Somebody who is no member.
fn stranger(user: &UserId, organization: &OrganizationId) -> Principal {
    Principal::User {
        user: user.clone(),
        organization: organization.clone(),
        role: None,
        groups: Vec::new(),
        is_disabled: false,
    }
}

fn question(
    principal: Principal,
    organization: &OrganizationId,
    action: Action,
    subject: &Subject,
    facts: Facts,
) -> Request {
    let resource = Resource::new(organization.clone(), subject.clone());
    Request { principal, action, resource, facts }
}

/// Decides how much a refusal tells: why, and who could do it instead, to those who may see the
/// thing; to everyone else the thing does not exist.
fn visible_error(
    policy: &keyferry_policy::Policy,
    request: &Request,
    decision: &Decision,
) -> Error {
    let organization = &request.resource.organization;
    let target = &request.resource.target;
    let sees = |action, subject: &Subject| {
        policy.allows(&Request {
            action,
            resource: Resource::new(organization.clone(), subject.clone()),
            facts: Facts::default(),
            ..request.clone()
        })
    };
    let is_person = matches!(request.principal, Principal::User { .. });
    // Named as whoever looks for a thing that is not there names it, so that nobody learns from
    // the words what exists in an organization of others.
    let nothing_there = || {
        let found = audit_target(organization, target);
        Error::not_found(format!("{} `{}`", found.kind, found.id))
    };
    if is_person && !sees(Action::OrganizationRead, &Subject::Organization) {
        return nothing_there();
    }
    let read = match target {
        Subject::Organization => None,
        Subject::Member { .. } => Some(Action::MemberRead),
        Subject::Group(_) => Some(Action::GroupRead),
        Subject::Token { .. } => Some(Action::TokenRead),
        Subject::Credential { .. } => Some(Action::CredentialRead),
        Subject::Connection { .. } => Some(Action::ConnectionRead),
        Subject::Pipeline { .. } => Some(Action::PipelineRead),
        Subject::Workload { .. } => Some(Action::WorkloadRead),
        Subject::Runner(_) => Some(Action::RunnerRead),
    };
    if let Some(read) = read
        && is_person
        && (read == request.action || !sees(read, target))
    {
        return nothing_there();
    }
    let error = Error::denied("denied", decision.sentence());
    match decision {
        Decision::Deny { who_can, .. } if !who_can.is_empty() => {
            error.hint(format!("this can be done by {}", who_can.join(", or by ")))
        }
        _ => error,
    }
}

/// Names the thing as the audit record does.
pub(crate) fn audit_target(organization: &OrganizationId, subject: &Subject) -> Target {
    let id = match subject {
        Subject::Organization => organization.to_string(),
        Subject::Member { user, .. } => user.to_string(),
        Subject::Group(group) => group.to_string(),
        Subject::Token { token, .. } => token.to_string(),
        Subject::Credential { credential, .. } => credential.to_string(),
        Subject::Connection { connection, .. } => connection.to_string(),
        Subject::Pipeline { pipeline, .. } => pipeline.to_string(),
        Subject::Workload { workload, .. } => workload.to_string(),
        Subject::Runner(runner) => runner.to_string(),
    };
    Target::new(subject.noun(), id)
}
