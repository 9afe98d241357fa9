//! Leases: the product in one folder.
//!
//! `issue` is the way of a question: who asks (`holder`), what they may have (`reach`), the row
//! and the audit event that are durable before anything exists outside, the mint, the material.
//! `cache` keeps material for a holder who asks again. `end` ends leases; `revoke` takes back
//! what was minted for them, also what a crash left behind. Listing is in `view`.

mod cache;
mod end;
mod holder;
mod issue;
mod reach;
mod reject;
mod revoke;
mod view;

use std::sync::Arc;

use keyferry_domain::Timestamp;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::LeaseId;
use keyferry_domain::lease::Narrowing;
use keyferry_domain::material::Material;

pub(crate) use self::cache::Cache;
pub(crate) use self::end::{EndedLeases, LeasesOf};
pub(crate) use self::reach::{Reach, address_of, ca_certificate_of};
pub use self::reject::Rejection;
pub use self::view::LeaseFilter;

/// What a holder gets.
#[derive(Debug, Clone)]
pub struct IssuedLease {
    /// The lease.
    pub id: LeaseId,
    /// The connection.
    pub connection: ConnectionId,
    /// The connection's type.
    pub connection_type: &'static str,
    /// What it was cut down to.
    pub narrowing: Narrowing,
    /// When to ask again.
    pub expires_at: Timestamp,
    /// The secret bytes.
    pub material: Arc<Material>,
}
