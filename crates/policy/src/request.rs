//! A question to the policy: who, what, on what, and the facts that go with it. Plain data; the
//! broker fills it from what it has read, [`crate::Policy::decide`] answers it.

use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{
    CredentialId, GroupId, JobId, OrganizationId, PipelineId, RunnerId, TokenId, UserId, WorkloadId,
};
use keyferry_domain::{Role, Scope};

use crate::action::Action;

/// One question.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who asks.
    pub principal: Principal,
    /// What for.
    pub action: Action,
    /// On what.
    pub resource: Resource,
    /// Facts that only the broker can look up.
    pub facts: Facts,
}

/// Who asks, with what was looked up about them. Somebody who has proved nothing has no form here:
/// the answer to them is "sign in", not a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A person as a member of one organization.
    User {
        /// The person.
        user: UserId,
        /// The organization that the membership was looked up in. For an API token, the token's.
        organization: OrganizationId,
        /// Absent for somebody who is no member.
        role: Option<Role>,
        /// The groups of that organization which the person is in.
        groups: Vec<GroupId>,
        /// Whether the account is closed.
        is_disabled: bool,
    },
    /// A job, by its job token.
    Job {
        /// The job.
        job: JobId,
        /// Where it runs.
        organization: OrganizationId,
        /// Whether it has ended or was canceled.
        is_over: bool,
    },
    /// A workload, by its token.
    Workload {
        /// The workload.
        workload: WorkloadId,
        /// Where it was started.
        organization: OrganizationId,
        /// Whether it has ended.
        is_over: bool,
    },
    /// A runner, by its token.
    Runner {
        /// The runner.
        runner: RunnerId,
        /// The one organization it serves; `None` for the server's own.
        organization: Option<OrganizationId>,
        /// Whether it was deleted.
        is_deleted: bool,
    },
    /// Keyferry itself.
    System,
}

/// What is asked about, and the organization that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The organization.
    pub organization: OrganizationId,
    /// Whether the organization is closed.
    pub organization_is_disabled: bool,
    /// The thing.
    pub target: Target,
}

impl Resource {
    /// Something in an organization that is open.
    pub const fn new(organization: OrganizationId, target: Target) -> Self {
        Self { organization, organization_is_disabled: false, target }
    }
}

/// The thing that is asked about, with what the policies need to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The organization as a whole: for lists, for making new things, and for what it is itself.
    Organization,
    /// A member.
    Member {
        /// The person.
        user: UserId,
        /// The role they have now.
        role: Role,
    },
    /// A group.
    Group(GroupId),
    /// A person's API token.
    Token {
        /// The token.
        token: TokenId,
        /// Whose it is.
        owner: UserId,
    },
    /// A credential.
    Credential {
        /// The credential.
        credential: CredentialId,
        /// Whose it is; absent while it waits for a transfer.
        owner: Option<UserId>,
        /// Whether it is deleted.
        is_deleted: bool,
    },
    /// A connection. Also for its bindings, its leases, and the repositories behind it.
    Connection {
        /// The connection.
        connection: ConnectionId,
        /// Whose it is; absent while it waits for a transfer.
        owner: Option<UserId>,
        /// Who may use it.
        scope: Scope,
        /// The users of a custom scope.
        users: Vec<UserId>,
        /// The groups of a custom scope.
        groups: Vec<GroupId>,
        /// Whether it is switched off.
        is_disabled: bool,
        /// Whether it is deleted.
        is_deleted: bool,
    },
    /// A pipeline. Also for its runs and bindings.
    Pipeline {
        /// The pipeline.
        pipeline: PipelineId,
        /// Whose it is; absent when the person is gone.
        owner: Option<UserId>,
        /// Who else takes part.
        members: Vec<(PipelineMember, PipelineRole)>,
        /// Whether it is deleted.
        is_deleted: bool,
    },
    /// A workload.
    Workload {
        /// The workload.
        workload: WorkloadId,
        /// Who started it.
        owner: UserId,
    },
    /// A runner.
    Runner(RunnerId),
}

impl Target {
    /// Returns what it is called: `connection` for instance.
    pub const fn noun(&self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Member { .. } => "member",
            Self::Group(_) => "group",
            Self::Token { .. } => "token",
            Self::Credential { .. } => "credential",
            Self::Connection { .. } => "connection",
            Self::Pipeline { .. } => "pipeline",
            Self::Workload { .. } => "workload",
            Self::Runner(_) => "runner",
        }
    }

    /// Returns whose it is, where it is somebody's.
    pub const fn owner(&self) -> Option<&UserId> {
        match self {
            Self::Token { owner, .. } | Self::Workload { owner, .. } => Some(owner),
            Self::Credential { owner, .. }
            | Self::Connection { owner, .. }
            | Self::Pipeline { owner, .. } => owner.as_ref(),
            Self::Organization | Self::Member { .. } | Self::Group(_) | Self::Runner(_) => None,
        }
    }
}

/// Who takes part in a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PipelineMember {
    /// One person.
    User(UserId),
    /// Everyone in a group.
    Group(GroupId),
}

/// What a pipeline's member may do with it. Its owner may do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipelineRole {
    /// Everything an owner may.
    Admin,
    /// See and run it.
    Runner,
    /// See it.
    Viewer,
}

/// Facts that only the broker can look up. Each is false unless somebody has looked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// For `lease.issue`: the place of the job has an approved binding to the connection, or the
    /// workload was started with it by someone who may use it still.
    pub is_bound: bool,
    /// For `lease.end`: the one who asks holds the lease.
    pub is_holder: bool,
    /// For `member.create` and `member.update`: the role to be given is owner.
    pub grants_ownership: bool,
}
