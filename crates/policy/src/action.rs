//! Everything that can be asked for, by name. The names are those of `policies/schema.cedarschema`
//! and of the audit record; a test holds list and schema together.

use std::fmt;
use std::str::FromStr;

/// The text names no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("find the action `{text}`")]
pub struct UnknownAction {
    text: String,
}

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Something that can be asked for: `<noun>.<verb>`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $($(#[$doc])* $variant,)* }

        impl Action {
            /// Every action, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the action's name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

actions! {
    /// Make an organization.
    OrganizationCreate = "organization.create",
    /// See the organization.
    OrganizationRead = "organization.read",
    /// Rename the organization and change its settings.
    OrganizationUpdate = "organization.update",
    /// List the members.
    MemberList = "member.list",
    /// Add or invite a member.
    MemberCreate = "member.create",
    /// List the groups.
    GroupList = "group.list",
    /// Make a group.
    GroupCreate = "group.create",
    /// List one's own API tokens.
    TokenList = "token.list",
    /// Make an API token for oneself.
    TokenCreate = "token.create",
    /// List the credentials one may see.
    CredentialList = "credential.list",
    /// Put in a credential.
    CredentialCreate = "credential.create",
    /// List the connections one may see.
    ConnectionList = "connection.list",
    /// Make a connection; also asks `credential.use`.
    ConnectionCreate = "connection.create",
    /// List the pipelines one may see.
    PipelineList = "pipeline.list",
    /// Make a pipeline.
    PipelineCreate = "pipeline.create",
    /// List the runs one may see.
    RunList = "run.list",
    /// List the leases one may see.
    LeaseList = "lease.list",
    /// List the workloads one may see.
    WorkloadList = "workload.list",
    /// Start a command outside pipelines; also asks `connection.use`.
    WorkloadCreate = "workload.create",
    /// List the runners.
    RunnerList = "runner.list",
    /// Register a runner.
    RunnerRegister = "runner.register",
    /// Read the audit record.
    AuditRead = "audit.read",
    /// Claim a job, and report on claimed ones.
    RunnerClaim = "runner.claim",
    /// See a member.
    MemberRead = "member.read",
    /// Change a member's role.
    MemberUpdate = "member.update",
    /// Remove a member, or leave.
    MemberDelete = "member.delete",
    /// See a group.
    GroupRead = "group.read",
    /// Change a group and who is in it.
    GroupUpdate = "group.update",
    /// Delete a group.
    GroupDelete = "group.delete",
    /// See what is known of a token, never the token.
    TokenRead = "token.read",
    /// End a token.
    TokenDelete = "token.delete",
    /// See a credential's public fields.
    CredentialRead = "credential.read",
    /// Replace a credential's secrets.
    CredentialUpdate = "credential.update",
    /// Delete a credential.
    CredentialDelete = "credential.delete",
    /// Give a credential another owner.
    CredentialTransfer = "credential.transfer",
    /// Put a credential behind a connection.
    CredentialUse = "credential.use",
    /// See a connection and what uses it.
    ConnectionRead = "connection.read",
    /// Rename a connection and change its settings and scope.
    ConnectionUpdate = "connection.update",
    /// Try a connection against its service.
    ConnectionVerify = "connection.verify",
    /// Replace the credential inside a connection.
    ConnectionReconfigure = "connection.reconfigure",
    /// Give a connection another owner.
    ConnectionTransfer = "connection.transfer",
    /// Delete a connection.
    ConnectionDelete = "connection.delete",
    /// Ask who may use a connection and why.
    ConnectionExplain = "connection.explain",
    /// Use a connection in pipelines and workloads.
    ConnectionUse = "connection.use",
    /// See the repositories and branches behind a connection.
    ConnectionBrowse = "connection.browse",
    /// Merge branches through a connection.
    BranchMerge = "branch.merge",
    /// Delete a branch through a connection.
    BranchDelete = "branch.delete",
    /// Delete a tag through a connection.
    TagDelete = "tag.delete",
    /// Let a pipeline use a connection.
    BindingApprove = "binding.approve",
    /// See a pipeline.
    PipelineRead = "pipeline.read",
    /// Save a new revision.
    PipelineUpdate = "pipeline.update",
    /// Delete a pipeline.
    PipelineDelete = "pipeline.delete",
    /// Change a pipeline's members.
    PipelineShare = "pipeline.share",
    /// Run a pipeline.
    PipelineRun = "pipeline.run",
    /// Start a run.
    RunStart = "run.start",
    /// See a run and its logs.
    RunRead = "run.read",
    /// Stop a run.
    RunCancel = "run.cancel",
    /// Run a job again.
    RunRetry = "run.retry",
    /// See a binding.
    BindingRead = "binding.read",
    /// Take a binding back.
    BindingRevoke = "binding.revoke",
    /// Be given access through a connection.
    LeaseIssue = "lease.issue",
    /// See a lease, never its secret.
    LeaseRead = "lease.read",
    /// End a lease.
    LeaseEnd = "lease.end",
    /// See a workload.
    WorkloadRead = "workload.read",
    /// End a workload and its leases.
    WorkloadEnd = "workload.end",
    /// See a runner.
    RunnerRead = "runner.read",
    /// Delete a runner.
    RunnerDelete = "runner.delete",
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        Self::ALL
            .iter()
            .copied()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| UnknownAction { text: text.chars().take(64).collect() })
    }
}
