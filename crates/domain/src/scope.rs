//! Who may use a connection.

use crate::named::named;

named! {
    /// A connection's scope of use.
    Scope {
        /// Its owner only.
        Private = "private",
        /// Every member of the organization.
        Public = "public",
        /// Its owner and the chosen users and groups.
        Custom = "custom",
    }
}
