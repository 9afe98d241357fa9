//! Brings the schema up to date. Migrations only go forward, and are one text for both engines.

use std::sync::Arc;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::database::{Engine, Store};
use crate::error::{Result, StoreError};

/// Every migration: number, name, text.
const MIGRATIONS: &[(i64, &str, &str)] =
    &[(1, "first", include_str!("../migrations/0001_first.sql"))];

impl Store {
    /// Applies the migrations that are missing; does nothing when there are none. A database
    /// that a newer version has migrated is refused.
    pub async fn migrate(&self) -> Result<()> {
        let migrations = MIGRATIONS.iter().map(|(number, name, text)| {
            Migration::new(
                *number,
                (*name).into(),
                MigrationType::Simple,
                SqlStr::from_static(text),
                false,
            )
        });
        let migrator = Migrator::with_migrations(migrations.collect());
        match &*self.engine {
            Engine::Lite(lite) => migrator.run(&lite.writer).await,
            Engine::Pg(pool) => migrator.run(pool).await,
        }
        .map_err(|source| StoreError::Migrate { source: Arc::new(source) })
    }
}
