//! Who is asking. Every use case takes the actor first and decides before it acts.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::id::{
    JobId, OrganizationId, RequestId, RunId, RunnerId, SessionId, TokenId, UserId, WorkloadId,
};

/// Who is asking, and in which request.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Who the caller proved to be.
    pub identity: Identity,
    /// The request this happens in; found again in the audit record and in the server's log.
    pub request: RequestId,
    /// Where the request came from, when it came over a network.
    pub address: Option<IpAddr>,
}

/// Who the caller proved to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nobody yet: signing in, or using a one-time link.
    Anonymous,
    /// A person. Roles belong to a membership, so they are looked up per organization.
    User {
        /// The person.
        user: UserId,
        /// How they proved it.
        via: Via,
    },
    /// A running job, by its job token.
    Job {
        /// The organization it runs in.
        organization: OrganizationId,
        /// The run it belongs to.
        run: RunId,
        /// The job.
        job: JobId,
    },
    /// A command outside pipelines, by its workload token.
    Workload {
        /// The organization it was started in.
        organization: OrganizationId,
        /// The workload.
        workload: WorkloadId,
    },
    /// A runner, by its token. The one inside the server serves every organization.
    Runner {
        /// The runner.
        runner: RunnerId,
        /// The one organization whose jobs it may claim; `None` for the server's own.
        organization: Option<OrganizationId>,
    },
    /// Keyferry itself: sweepers, first start, admin commands on the server's machine.
    System,
}

/// How a person proved who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// Signed in with a password.
    Session(SessionId),
    /// An API token, which works in one organization only.
    Token {
        /// The token.
        token: TokenId,
        /// The organization it works in.
        organization: OrganizationId,
    },
}

/// An actor as it is written into records: a kind and an id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorRef {
    /// `anonymous`, `user`, `job`, `workload`, `runner` or `system`.
    pub kind: String,
    /// The id of the person, job, workload or runner.
    pub id: Option<String>,
    /// The session or token that a person used, or the run of a job.
    pub via: Option<String>,
}

impl Actor {
    /// Keyferry itself, in a request of its own.
    pub const fn system(request: RequestId) -> Self {
        Self { identity: Identity::System, request, address: None }
    }

    /// Returns the person, when it is one.
    pub const fn user(&self) -> Option<&UserId> {
        match &self.identity {
            Identity::User { user, .. } => Some(user),
            _ => None,
        }
    }

    /// Returns the form that goes into records.
    pub fn to_ref(&self) -> ActorRef {
        let (kind, id, via) = match &self.identity {
            Identity::Anonymous => ("anonymous", None, None),
            Identity::User { user, via: Via::Session(session) } => {
                ("user", Some(user.to_string()), Some(session.to_string()))
            }
            Identity::User { user, via: Via::Token { token, .. } } => {
                ("user", Some(user.to_string()), Some(token.to_string()))
            }
            Identity::Job { run, job, .. } => ("job", Some(job.to_string()), Some(run.to_string())),
            Identity::Workload { workload, .. } => ("workload", Some(workload.to_string()), None),
            Identity::Runner { runner, .. } => ("runner", Some(runner.to_string()), None),
            Identity::System => ("system", None, None),
        };
        ActorRef { kind: kind.to_owned(), id, via }
    }
}
