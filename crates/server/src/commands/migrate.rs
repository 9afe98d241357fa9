//! `migrate`: brings the database's schema up to date.

use anyhow::Result;

use crate::settings::Settings;

pub(super) async fn run(settings: Settings) -> Result<()> {
    super::start_logging(&settings)?;
    // Opening brings the schema up to date.
    let broker = super::open(&settings).await?;
    broker.close().await;
    super::print("the database is up to date")
}
