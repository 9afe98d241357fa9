//! The main story on a Git server over HTTPS with a private authority, with a runner of its own.

use anyhow::Result;
use keyferry_testkit::peers::git_http::{self, GitHttp, TLS_PROGRAMS};
use keyferry_testkit::process::ServerOptions;
use keyferry_testkit::{Authority, Canary, require};

use crate::story::{Place, tell};
use crate::world::{World, text};

#[test]
fn a_credential_goes_in_once_and_is_replaced_in_one_place() -> Result<()> {
    if !require(git_http::PROGRAMS) || !require(TLS_PROGRAMS) {
        return Ok(());
    }
    let authority = Authority::new()?;
    let password = Canary::awkward("first-password")?;
    let server = GitHttp::start_tls(password.value(), &authority)?;
    let world = World::start_with(ServerOptions { without_runner: true, ..Default::default() })?;
    let certificate = text(&authority.certificate());
    let runner = world.start_runner("machine", &["--job-ca-bundle", &certificate])?;
    let place = Place { server: &server, authority: Some(&authority), password: &password };
    tell(&world, &place, Some(&runner))
}
