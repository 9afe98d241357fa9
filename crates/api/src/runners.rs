//! Runners: programs that execute jobs.

use keyferry_domain::Timestamp;
use keyferry_domain::id::RunnerId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::secrets::Disclosed;

/// Registers a runner.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRunner {
    /// Name, 1 to 100 characters.
    pub name: String,
}

/// A new runner. The token is shown here and never again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunnerCreated {
    /// What the runner signs in with.
    pub token: Disclosed,
    /// What can be listed later.
    pub view: RunnerView,
}

/// A runner.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunnerView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: RunnerId,
    /// Its name.
    pub name: String,
    /// When it was registered.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last asked for work, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_seen_at: Option<Timestamp>,
}
