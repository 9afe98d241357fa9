//! `doctor`: what holds, and whether everything is in reach.

use anyhow::{Result, bail};

use crate::settings::{RootKeySettings, Settings};

pub(super) async fn run(settings: Settings) -> Result<()> {
    let scheme = settings.database.url.expose().split("://").next().unwrap_or_default().to_owned();
    let root_key = match &settings.root_key {
        RootKeySettings::Text(_) => "in the environment".to_owned(),
        RootKeySettings::File(path) | RootKeySettings::DefaultFile(path) => {
            path.display().to_string()
        }
    };
    for (name, value) in [
        ("data folder", settings.data_dir.display().to_string()),
        ("database", scheme),
        ("root key", root_key),
        ("listens on", settings.listen.address.to_string()),
        ("TLS", if settings.listen.tls.is_some() { "on" } else { "off" }.to_owned()),
        ("private addresses allowed", settings.outbound.allow_addresses.join(", ")),
        ("runner inside", if settings.runner.is_enabled { "yes" } else { "no" }.to_owned()),
    ] {
        super::print(&format!("{name:<26} {value}"))?;
    }
    let broker = match super::open(&settings).await {
        Ok(broker) => broker,
        Err(error) => bail!("{error:#}"),
    };
    let ready = broker.check_ready().await;
    broker.close().await;
    ready?;
    super::print("the database answers and its schema is up to date")
}
