//! The image registry and its client, without Keyferry.

use anyhow::Result;
use keyferry_testkit::children::describe;
use keyferry_testkit::images::{self, ImageClient};
use keyferry_testkit::peers::registry::{self, Registry, USER};
use keyferry_testkit::{Authority, Canary, Scratch, certificates, require};

fn client(scratch: &Scratch, name: &str) -> Result<ImageClient> {
    Ok(ImageClient::new(&scratch.folder(name)?))
}

#[test]
fn the_registry_takes_an_image_from_who_has_the_password() -> Result<()> {
    if !require(registry::PROGRAMS) || !require(images::PROGRAMS) {
        return Ok(());
    }
    let password = Canary::awkward("registry")?;
    let watch = password.watch_processes();
    let registry = Registry::start(password.value())?;
    let scratch = Scratch::new()?;
    let client = client(&scratch, "home")?;
    client.login(&registry.host(), USER, password.value())?;
    let repository = format!("{}/team/app", registry.host());
    client.push(&format!("{repository}:1"))?;
    client.push(&format!("{repository}:2"))?;
    assert_eq!(client.tags(&repository)?, ["1", "2"]);
    password.assert_absent_in("the registry's log", registry.log());
    assert_eq!(watch.finish(), []);
    Ok(())
}

#[test]
fn the_registry_refuses_everyone_else() -> Result<()> {
    if !require(registry::PROGRAMS) || !require(images::PROGRAMS) {
        return Ok(());
    }
    let registry = Registry::start("first")?;
    let scratch = Scratch::new()?;
    let image = format!("{}/team/app:1", registry.host());

    let nobody = client(&scratch, "nobody")?.push_output(&image)?;
    assert!(describe(&nobody).contains("authentication required"), "{}", describe(&nobody));
    let wrong = client(&scratch, "wrong")?.login(&registry.host(), USER, "second").unwrap_err();
    assert!(wrong.to_string().contains("invalid username/password"), "{wrong}");

    let client = client(&scratch, "home")?;
    client.login(&registry.host(), USER, "first")?;
    client.push(&image)?;
    registry.change_password("second")?;
    let old = client.push_output(&image)?;
    assert!(!old.status.success(), "{}", describe(&old));
    client.login(&registry.host(), USER, "second")?;
    client.push(&image)?;
    Ok(())
}

#[test]
fn the_registry_over_https_needs_the_authority() -> Result<()> {
    if !require(registry::PROGRAMS)
        || !require(images::PROGRAMS)
        || !require(certificates::PROGRAMS)
    {
        return Ok(());
    }
    let authority = Authority::new()?;
    let registry = Registry::start_tls("password", &authority)?;
    let scratch = Scratch::new()?;
    let other = Authority::new()?;
    let misled = client(&scratch, "misled")?.trusting(&other.certificate())?;
    assert!(misled.login(&registry.host(), USER, "password").is_err());
    let client = client(&scratch, "home")?.trusting(&authority.certificate())?;
    client.login(&registry.host(), USER, "password")?;
    client.push(&format!("{}/team/app:1", registry.host()))?;
    Ok(())
}
