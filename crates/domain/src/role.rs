//! What a member may be in an organization.

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
