//! The one error of every provider: closed, because the broker acts on each case.

use std::time::Duration;

/// What went wrong at or before the outside service. Texts are the service's words, cut to a
/// readable length and cleaned of secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The service refused the credential, or what it may do (their 401 and 403).
    #[error("the service refused the credential: {reason}")]
    Rejected {
        /// Their words.
        reason: String,
    },
    /// The thing is not there, or the credential may not see it.
    #[error("the service does not have {what}")]
    NotFound {
        /// What was asked for: "repository `team/app`".
        what: String,
    },
    /// Too many requests.
    #[error("the service asks to slow down")]
    RateLimited {
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// No answer, a cut answer, or their 5xx.
    #[error("the service cannot be reached: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// A setting is wrong.
    #[error("`{field}` is wrong: {reason}")]
    Misconfigured {
        /// The setting or credential field.
        field: String,
        /// Why.
        reason: String,
    },
    /// The branches cannot be merged without a person.
    #[error("the merge has conflicts")]
    MergeConflict {
        /// The paths in conflict, where the service tells them.
        paths: Vec<String>,
    },
    /// The branch is not where the caller expected it.
    #[error("`{name}` has moved: it is at {actual}")]
    Moved {
        /// The branch.
        name: String,
        /// Its present commit, or "gone".
        actual: String,
    },
    /// The service will not do this to this thing: a protected branch, the default branch.
    #[error("the service will not do this: {reason}")]
    Refused {
        /// Their words.
        reason: String,
    },
    /// This connection type cannot do this.
    #[error("{reason}")]
    Unsupported {
        /// What to do instead.
        reason: String,
    },
    /// An answer that makes no sense.
    #[error("the service gave an answer that makes no sense: {reason}")]
    Unexpected {
        /// What was strange about it.
        reason: String,
    },
}
