//! The main story on PostgreSQL, with the runner inside the server.

use anyhow::Result;
use keyferry_testkit::peers::git_http::{self, GitHttp};
use keyferry_testkit::peers::postgres::{self, Postgres};
use keyferry_testkit::process::ServerOptions;
use keyferry_testkit::{Canary, require};

use crate::story::{Place, tell};
use crate::world::World;

#[test]
fn the_main_story_holds_on_postgres() -> Result<()> {
    if !require(git_http::PROGRAMS) || !require(postgres::PROGRAMS) {
        return Ok(());
    }
    let postgres = Postgres::start()?;
    let url = postgres.create_database()?;
    let password = Canary::awkward("first-password")?;
    let server = GitHttp::start(password.value())?;
    let environment = vec![("KEYFERRY_DATABASE_URL".to_owned(), url.clone())];
    let world = World::start_with(ServerOptions { environment, ..Default::default() })?;
    let place = Place { server: &server, authority: None, password: &password };
    tell(&world, &place, None)?;
    for canary in world.planted() {
        canary.assert_absent_in_database(&url);
        canary.assert_absent_in("the log of PostgreSQL", postgres.log());
    }
    Ok(())
}
