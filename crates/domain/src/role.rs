//! What a member may be in an organization, and in a pipeline.

use crate::named::named;

named! {
    /// A member's role. What each may do is written in `policies/` and shown in
    /// docs/reference/permissions.md.
    Role {
        /// Everything, also giving and taking ownership.
        Owner = "owner",
        /// Manages people, connections and pipelines of the organization.
        Admin = "admin",
        /// Creates and uses connections and pipelines.
        Member = "member",
        /// Reads everything but secrets, changes nothing.
        Auditor = "auditor",
    }
}

named! {
    /// What a member of the organization may do with one pipeline. `policies/pipelines.cedar` says
    /// it in full.
    PipelineRole {
        /// Changes, shares and deletes it too; a pipeline keeps at least one.
        Owner = "owner",
        /// Changes, shares and deletes it too.
        Admin = "admin",
        /// Starts and cancels runs too.
        Runner = "runner",
        /// Looks at it and its runs.
        Viewer = "viewer",
    }
}
