//! Leases of one holder, kept in memory while they live: one per connection and operation.
//!
//! A tool that asks twice, or two tools that ask at once, get one lease. Refusals are not kept, so
//! that an approval given in the meantime counts. Uses are counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_api::client::{Client, ClientError};
use keyferry_api::leases::{IssueLease, LeaseIssued, LeaseMaterial};
use keyferry_delivery::socket::Refusal;
use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{LeaseId, OrganizationId};
use keyferry_domain::material::Material;
use keyferry_domain::operation::Operation;
use keyferry_domain::secret::SecretBytes;
use keyferry_domain::{Clock, SystemClock, Timestamp};

use tokio_util::sync::CancellationToken;

use crate::secrets::Secrets;

/// Material is asked for anew when it has less than this to live.
const LEAST_LIFE: Duration = Duration::from_mins(1);

/// How long an answer is waited for while the server is away.
const SERVER_AWAY: Duration = Duration::from_mins(1);

/// Material with the time until which it can be handed out.
#[derive(Debug)]
pub(crate) struct Held {
    lease: LeaseId,
    pub(crate) material: Material,
    pub(crate) expires_at: Timestamp,
}

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Held>>>>;

/// The leases of one job or workload.
pub(crate) struct Leases {
    client: Client,
    organization: OrganizationId,
    secrets: Arc<Secrets>,
    stop: CancellationToken,
    slots: Mutex<HashMap<(ConnectionId, Operation), Slot>>,
    uses: Mutex<BTreeMap<String, u64>>,
}

impl Leases {
    /// `client` speaks with the holder's token; nothing is asked for after `stop`.
    pub(crate) fn new(
        client: &Client,
        organization: OrganizationId,
        secrets: Arc<Secrets>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            client: client.with_retries(SERVER_AWAY),
            organization,
            secrets,
            stop,
            slots: Mutex::default(),
            uses: Mutex::default(),
        }
    }

    /// Returns material for an operation: what is held, or a new lease.
    pub(crate) async fn get(
        &self,
        connection: &ConnectionId,
        operation: &Operation,
    ) -> Result<Arc<Held>, Refusal> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry((connection.clone(), operation.clone())).or_default())
        };
        // Whoever comes second waits here, and finds what the first one got.
        let mut held = slot.lock().await;
        let held = if let Some(held) = held.as_ref().filter(|held| is_fresh(held.expires_at)) {
            Arc::clone(held)
        } else {
            *held = None;
            let issued = self.issue(connection, operation).await?;
            Arc::clone(held.insert(Arc::new(issued)))
        };
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        *uses.entry(connection.to_string()).or_default() += 1;
        Ok(held)
    }

    /// Gives back what a service has refused, so that the next ask gets the present credential, and
    /// returns what the server found out about it; nothing when nothing was held.
    pub(crate) async fn reject(
        &self,
        connection: &ConnectionId,
        operation: &Operation,
    ) -> Option<Refusal> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.remove(&(connection.clone(), operation.clone()))?
        };
        let lease = slot.lock().await.as_ref()?.lease.clone();
        let client = self.client.with_retries(Duration::ZERO);
        match client.report_rejection(&self.organization, &lease).await {
            Ok(reported) => Some(Refusal {
                code: "credential_rejected".to_owned(),
                message: reported.explanation,
                hint: None,
            }),
            Err(error) => {
                // The end of the job says the same; here it would only have been sooner.
                tracing::debug!(%connection, %error, "report a refused credential");
                None
            }
        }
    }

    /// Returns how often each connection was used.
    pub(crate) fn uses(&self) -> BTreeMap<String, u64> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn issue(
        &self,
        connection: &ConnectionId,
        operation: &Operation,
    ) -> Result<Held, Refusal> {
        let body = IssueLease { connection_id: connection.clone(), operation: operation.clone() };
        let issued = tokio::select! {
            // The holder is being stopped: it must not wait for a server that is away.
            () = self.stop.cancelled() => {
                return Err(Refusal {
                    code: "stopped".to_owned(),
                    message: format!("connection `{connection}`: the job is being stopped"),
                    hint: None,
                });
            }
            issued = self.client.issue_lease(&self.organization, &body) => {
                issued.map_err(|error| refusal_of(connection, &error))?
            }
        };
        let held = held_of(issued)?;
        // Before it goes anywhere: the log must hide it from its first byte on.
        self.secrets.add_material(&held.material);
        Ok(held)
    }
}

/// Tells whether what ends then can still be handed out.
pub(crate) fn is_fresh(expires_at: Timestamp) -> bool {
    expires_at > SystemClock.now().plus(LEAST_LIFE)
}

fn held_of(issued: LeaseIssued) -> Result<Held, Refusal> {
    let material = match issued.material {
        LeaseMaterial::Password { username, password } => {
            Material::Password { username, password: password.into_secret() }
        }
        LeaseMaterial::SshKey { username, private_key, known_hosts, url } => {
            Material::SshKey { username, private_key: private_key.into_secret(), known_hosts, url }
        }
        LeaseMaterial::Values { values, files } => {
            let mut decoded = BTreeMap::new();
            for (name, text) in files {
                let bytes = STANDARD.decode(text.secret().expose()).map_err(|_| Refusal {
                    code: "broken_material".to_owned(),
                    message: format!("the server sent a file, `{name}`, that is not base64"),
                    hint: None,
                })?;
                decoded.insert(name, SecretBytes::new(bytes));
            }
            let values =
                values.into_iter().map(|(name, value)| (name, value.into_secret())).collect();
            Material::Values { values, files: decoded }
        }
    };
    Ok(Held { lease: issued.lease_id, material, expires_at: issued.expires_at })
}

/// Returns the server's reason in the words of the job socket.
fn refusal_of(connection: &ConnectionId, error: &ClientError) -> Refusal {
    match error.problem() {
        Some(problem) => Refusal {
            code: problem.code.clone(),
            message: format!("connection `{connection}`: {}", problem.detail),
            hint: problem.hint.clone(),
        },
        None => Refusal {
            code: "server_unreachable".to_owned(),
            message: format!("connection `{connection}`: failed to {error}"),
            hint: Some("run the job again when the server is back".to_owned()),
        },
    }
}
