//! Opening and closing: root keys, database, policy, the way out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keyferry_domain::secret::SecretString;
use keyferry_domain::{Clock, Error, ErrorKind, Random, Result, SystemClock};
use keyferry_policy::Policy;
use keyferry_providers::{Context, Gate, GateSettings, Limits};
use keyferry_store::{Journal, Store, StoreOptions};
use keyferry_vault::{RootKeys, SystemRandom, Vault};

use crate::failure::store_failed;
use crate::{Broker, jobs, leases};

/// How long one call of an outside service may take in all.
const OUTSIDE_TIMEOUT: Duration = Duration::from_secs(20);

/// The audit chain that every server writes to.
const CHAIN: &str = "main";

/// Where the root keys come from.
#[derive(Debug, Clone)]
pub enum RootKeySource {
    /// The text of a root key file.
    Text(SecretString),
    /// A file that must exist.
    File(PathBuf),
    /// A file that is made when it does not exist.
    FileOrNew(PathBuf),
}

/// What a broker stands on.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// `sqlite:///path/file.db` or `postgres://…`; may hold a password.
    pub database_url: SecretString,
    /// The keys that protect every credential.
    pub root_key: RootKeySource,
    /// Private addresses that connections may reach: networks, addresses, host names.
    pub allow_addresses: Vec<String>,
    /// How often connections are tried at their services; never when absent.
    pub check_interval: Option<Duration>,
}

impl Broker {
    /// Opens everything and brings the database's schema up to date.
    pub async fn open(options: BrokerOptions) -> Result<Self> {
        Self::open_at(options, Arc::new(SystemClock)).await
    }

    /// Like [`Self::open`], with a clock of the caller's.
    pub async fn open_at(options: BrokerOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let root_keys = match &options.root_key {
            RootKeySource::Text(text) => RootKeys::from_text(text),
            RootKeySource::File(path) => RootKeys::read(path),
            RootKeySource::FileOrNew(path) => RootKeys::read_or_create(path),
        }
        .map_err(|error| {
            let message = format!("cannot use the root key: {error}");
            Error::new(ErrorKind::Unavailable, "root_key_unusable", message).caused_by(error)
        })?;
        let store = Store::open(options.database_url.expose(), StoreOptions::default())
            .await
            .map_err(store_failed)?;
        store.migrate().await.map_err(store_failed)?;
        let journal = Journal::start(store.clone(), CHAIN, keyferry_vault::link);
        let gate = Gate::new(gate_settings(&options.allow_addresses)?, Limits::default());
        let policy = Policy::builtin().map_err(Error::internal)?;
        Ok(Self {
            store,
            journal,
            vault: Vault::new(root_keys),
            policy,
            outside: Context {
                clock: Arc::clone(&clock),
                random: Arc::clone(&random),
                gate: Arc::new(gate),
                timeout: OUTSIDE_TIMEOUT,
            },
            reports: jobs::Reports::since(clock.now()),
            clock,
            random,
            leases: leases::Cache::new(),
            jobs: jobs::Doorbell::new(),
            check_interval: options.check_interval,
        })
    }

    /// Writes down what is under way and closes the database.
    pub async fn close(&self) {
        self.journal.close().await;
        self.store.close().await;
    }
}

fn gate_settings(allow_addresses: &[String]) -> Result<GateSettings> {
    let mut settings = GateSettings::default();
    for text in allow_addresses {
        let allowance =
            text.parse().map_err(|error: keyferry_providers::gate::InvalidAllowance| {
                Error::invalid("invalid_setting", format!("cannot use --allow-address: {error}"))
            })?;
        settings.allowed.push(allowance);
    }
    Ok(settings)
}
