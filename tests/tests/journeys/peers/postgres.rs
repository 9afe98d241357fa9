//! PostgreSQL, without Keyferry.

use anyhow::Result;
use keyferry_testkit::peers::postgres::{PROGRAMS, Postgres};
use keyferry_testkit::{Canary, require};

#[test]
fn each_database_is_empty_and_its_own() -> Result<()> {
    if !require(PROGRAMS) {
        return Ok(());
    }
    let postgres = Postgres::start()?;
    let (one, two) = (postgres.create_database()?, postgres.create_database()?);
    assert_ne!(one, two);
    let name = |url: &str| url.rsplit('/').next().unwrap().to_owned();
    let canary = Canary::new("database")?;
    canary.assert_absent_in_database(&one);
    let table = format!("create table t as select '{}'::text as secret", canary.value());
    postgres.query(&name(&one), &table)?;
    assert_eq!(postgres.query(&name(&one), "select secret from t")?, canary.value());
    assert!(canary.find_in(&Postgres::dump(&one)?).is_some());
    assert!(postgres.query(&name(&two), "select secret from t").is_err());
    canary.assert_absent_in_database(&two);
    Ok(())
}
