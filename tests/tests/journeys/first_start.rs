//! The first start: one link, used once, makes the owner.

use std::time::Duration;

use anyhow::{Context as _, Result};
use keyferry_testkit::children::{describe, output};
use keyferry_testkit::process::ServerOptions;
use keyferry_testkit::{Canary, Cli, Scratch, ServerProcess};

#[test]
fn the_first_start_prints_a_link_that_makes_the_owner_once() -> Result<()> {
    let server = ServerProcess::start(ServerOptions::default())?;
    server.wait_for_log("/setup#", Duration::from_secs(10))?;
    let log = server.log();
    let link = log.lines().find(|line| line.contains("/setup#")).context("no link")?.trim();
    assert!(link.starts_with(server.url()), "{link}");
    let homes = Scratch::new()?;
    let password = Canary::new("owners-password")?;
    let person = |name: &str| -> Result<Cli> { Cli::new(&homes.folder(name)?) };
    let set_up = |cli: &Cli, email: &str, link: &str, password: &str| {
        let name = email.split('@').next().unwrap_or_default();
        homes.write(format!("{name}/link"), link, 0o600)?;
        let command = ["setup", "--link-from", "@link", "--email", email, "--name", name];
        let rest = ["--organization-name", "Example", "--password-from", "-"];
        cli.output_with_input([&command[..], &rest].concat(), password)
    };

    // A wrong link, and a password that is too short, make nobody.
    let olga = person("olga")?;
    let wrong = format!("{}x", &link[..link.len() - 1]);
    let refused = set_up(&olga, "olga@example.com", &wrong, password.value())?;
    assert!(!refused.status.success(), "{}", describe(&refused));
    let refused = set_up(&olga, "olga@example.com", link, "short")?;
    assert_eq!(refused.status.code(), Some(2), "{}", describe(&refused));

    let made = set_up(&olga, "olga@example.com", link, password.value())?;
    assert!(made.status.success(), "{}", describe(&made));
    let user = olga.env("KEYFERRY_URL", server.url()).json(["whoami"])?;
    assert_eq!(user["memberships"][0]["role"], "owner", "{user}");

    // It was good once, and no later start prints another.
    let mallory = person("mallory")?;
    let refused = set_up(&mallory, "mallory@example.com", link, password.value())?;
    assert!(!refused.status.success(), "{}", describe(&refused));
    let before = server.log().matches("/setup#").count();
    server.stop()?;
    server.restart()?;
    assert_eq!(server.log().matches("/setup#").count(), before);
    let file = homes.write("password", "another-password-1", 0o600)?;
    let mut second = server.admin_command(["create-owner", "--email", "mallory@example.com"])?;
    second.args(["--name", "Mallory", "--organization", "Hers", "--password-file"]).arg(file);
    let refused = output(&mut second)?;
    assert!(!refused.status.success(), "{}", describe(&refused));
    password.assert_absent_in_files(server.folder());
    Ok(())
}
