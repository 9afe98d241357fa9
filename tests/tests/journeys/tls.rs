//! A server with a certificate of its own, and clients that are told whom to trust.

use anyhow::Result;
use keyferry_api::pipelines::PipelineView;
use keyferry_testkit::process::ServerOptions;
use keyferry_testkit::{Authority, certificates, require};

use crate::world::{World, script_pipeline, text};

#[test]
fn everything_works_over_tls_for_who_trusts_the_authority() -> Result<()> {
    if !require(certificates::PROGRAMS) {
        return Ok(());
    }
    let authority = Authority::new()?;
    let folder = keyferry_testkit::Scratch::new()?;
    let issued = authority.issue(folder.path())?;
    let environment = [
        ("KEYFERRY_TLS_CERTIFICATE_FILE", text(&issued.certificate)),
        ("KEYFERRY_TLS_KEY_FILE", text(&issued.key)),
        // For the people of this world; the server does not read it.
        ("KEYFERRY_CA_FILE", text(&authority.certificate())),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let world = World::start_with(ServerOptions { environment, ..Default::default() })?;
    assert!(world.server.url().starts_with("https://"), "{}", world.server.url());

    // The runner inside comes in by loopback; one of its own speaks TLS as well.
    let yaml = script_pipeline("", "echo hello");
    world.owner.create_pipeline::<PipelineView>("hello", &yaml)?;
    let run = world.owner.run("hello", &[])?;
    run.succeeded();
    assert!(run.log.contains("hello"), "{}", run.log);

    // Who does not know the authority, or knows another, says nothing to this server.
    let other = Authority::new()?;
    for certificate in [None, Some(text(&other.certificate()))] {
        let mut stranger = world.newcomer("stranger")?;
        stranger.trust_only(certificate.as_deref())?;
        let login = ["login", "--email", "owner@example.com", "--password-from", "-"];
        stranger.refused_with_input(&login, "some-password")?.says(8, &["certificate"]);
    }
    world.hunt();
    Ok(())
}

#[test]
fn a_runner_of_its_own_works_over_tls() -> Result<()> {
    if !require(certificates::PROGRAMS) {
        return Ok(());
    }
    let authority = Authority::new()?;
    let folder = keyferry_testkit::Scratch::new()?;
    let issued = authority.issue(folder.path())?;
    let environment = [
        ("KEYFERRY_TLS_CERTIFICATE_FILE", text(&issued.certificate)),
        ("KEYFERRY_TLS_KEY_FILE", text(&issued.key)),
        ("KEYFERRY_CA_FILE", text(&authority.certificate())),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let options = ServerOptions { environment, without_runner: true, ..Default::default() };
    let world = World::start_with(options)?;
    let _runner = world.start_runner("machine", &[])?;
    let yaml = script_pipeline("", "echo hello");
    world.owner.create_pipeline::<PipelineView>("hello", &yaml)?;
    world.owner.run("hello", &[])?.succeeded();
    world.hunt();
    Ok(())
}
