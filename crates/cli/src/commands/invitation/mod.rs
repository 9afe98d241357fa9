//! Invitations to an organization.

pub(crate) mod accept;
