//! Values and files for tools that no other type covers: as service bindings and as variables, and
//! masked in logs.

use anyhow::Result;
use keyferry_api::connections::{ConnectionReconfigured, ConnectionView};
use keyferry_api::pipelines::PipelineView;
use keyferry_domain::connection::HealthStatus;
use keyferry_testkit::Canary;
use keyferry_testkit::children::{command, run_with_input};

use crate::world::{World, example};

fn digest(bytes: &[u8]) -> Result<String> {
    let said = run_with_input(&mut command("sha256sum"), bytes)?;
    Ok(String::from_utf8(said.stdout)?.split(' ').next().unwrap_or_default().to_owned())
}

#[test]
fn values_and_files_reach_the_job_and_not_its_log() -> Result<()> {
    let world = World::start()?;
    let mia = world.invite("mia", "member")?;
    let value = world.secret("api-key")?;
    let content = world.secret("settings-file")?;
    // Not text: a file is delivered byte by byte.
    let settings = format!("{{\"password\": \"x\"}}\n{}\n\u{0}\u{1}", content.value());
    let file = mia.file("settings.json", &settings)?;
    let files = format!("settings.json=@{file}");
    let create = ["connection", "create", "--type", "generic", "--id", "payment-keys"];
    let fields = ["--name", "Payment keys", "--secret", "API_KEY=-", "--file", &files];
    let created: ConnectionView = mia
        .ask_with_input(&[&create[..], &fields, &["--scope", "public"]].concat(), value.value())?;
    assert_eq!(created.health.status, HealthStatus::Unverified, "there is nobody to ask");

    let yaml = example("values-and-files.yaml", &[])?;
    mia.create_pipeline::<PipelineView>("deploy", &yaml)?;
    let run = mia.run("deploy", &[])?;
    run.succeeded();
    for (what, bytes) in [
        ("settings", settings.as_bytes()),
        ("key as a file", value.value().as_bytes()),
        ("key as a variable", value.value().as_bytes()),
    ] {
        let line = format!("{what}: {}", digest(bytes)?);
        assert!(run.log.contains(&line), "`{line}` is not in {}", run.log);
    }
    assert!(run.log.contains("type: generic"), "{}", run.log);
    assert!(run.log.contains("Authorization: ****"), "{}", run.log);
    world.hunt();
    Ok(())
}

#[test]
fn what_a_tool_prints_of_a_secret_is_masked_in_every_form() -> Result<()> {
    let world = World::start()?;
    let value = world.secret("api-key")?;
    let create = ["connection", "create", "--type", "generic", "--id", "keys", "--name", "Keys"];
    let create = [&create[..], &["--secret", "KEY=-"]].concat();
    world.owner.ask_with_input::<ConnectionView>(&create, value.value())?;
    let yaml = "
stages:
  main:
    jobs:
      talk:
        steps:
          talk:
            step: Command
            with:
              connections: {keys: keys}
              env: {KEY: '${keys.KEY}'}
              run: |
                set -x
                : \"$KEY\"
                env
                printf %s \"$KEY\" | base64 -w 0; echo
                printf 'user:%s' \"$KEY\" | base64 -w 0; echo
                # In pieces, as a tool would that flushes early.
                for ((i = 0; i < ${#KEY}; i++)); do printf %s \"${KEY:i:1}\"; done; echo
                printf %s \"$KEY\" | fold -w 20; echo
                echo \"the end\"
";
    world.owner.create_pipeline::<PipelineView>("talk", yaml)?;
    let run = world.owner.run("talk", &[])?;
    run.succeeded();
    assert!(run.log.contains("KEY=****") && run.log.contains("the end"), "{}", run.log);
    world.hunt();
    Ok(())
}

#[test]
fn a_replaced_value_reaches_the_next_run_and_can_be_brought_back() -> Result<()> {
    let world = World::start()?;
    let (first, second) = (world.secret("first")?, world.secret("second")?);
    let create = ["connection", "create", "--type", "generic", "--id", "keys", "--name", "Keys"];
    let create = [&create[..], &["--secret", "KEY=-"]].concat();
    world.owner.ask_with_input::<ConnectionView>(&create, first.value())?;
    let yaml = "
stages:
  main:
    jobs:
      job:
        steps:
          look:
            step: Command
            with:
              connections: {keys: keys}
              run: sha256sum < \"$SERVICE_BINDING_ROOT/keys/KEY\"
";
    world.owner.create_pipeline::<PipelineView>("look", yaml)?;
    let assert_given = |canary: &Canary| -> Result<()> {
        let run = world.owner.run("look", &[])?;
        run.succeeded();
        assert!(run.log.contains(&digest(canary.value().as_bytes())?), "{}", run.log);
        Ok(())
    };
    assert_given(&first)?;
    let reconfigure = ["connection", "reconfigure", "keys", "--secret", "KEY=-"];
    let done: ConnectionReconfigured = world.owner.ask_with_input(&reconfigure, second.value())?;
    assert!(done.overlap_until.is_some());
    assert_given(&second)?;
    let done: ConnectionReconfigured = world.owner.ask(&["connection", "rollback", "keys"])?;
    assert_eq!(done.pipelines_edited, 0);
    assert_given(&first)?;

    // Without an overlap there is nothing to go back to.
    let at_once = [&reconfigure[..], &["--overlap-seconds", "0"]].concat();
    world.owner.ask_with_input::<ConnectionReconfigured>(&at_once, second.value())?;
    assert_given(&second)?;
    world.owner.refused(&["connection", "rollback", "keys"])?.says(6, &[]);
    world.hunt();
    Ok(())
}

#[test]
fn a_job_gets_only_the_connections_that_it_names() -> Result<()> {
    let world = World::start()?;
    let value = world.secret("api-key")?;
    let create = ["connection", "create", "--type", "generic", "--id", "keys", "--name", "Keys"];
    let create = [&create[..], &["--secret", "KEY=-", "--scope", "public"]].concat();
    world.owner.ask_with_input::<ConnectionView>(&create, value.value())?;
    // The first job names it; the second finds neither folder nor helper's answer.
    let yaml = "
stages:
  main:
    jobs:
      named:
        steps:
          look:
            step: Command
            with:
              connections: {keys: keys}
              run: test -s \"$SERVICE_BINDING_ROOT/keys/KEY\"
      other:
        needs: named
        steps:
          look:
            step: Command
            with:
              run: |
                test ! -e \"$SERVICE_BINDING_ROOT/keys\"
                ls -A \"$SERVICE_BINDING_ROOT\" | wc -l
                ! keyferry helper material keys
";
    world.owner.create_pipeline::<PipelineView>("look", yaml)?;
    world.owner.run("look", &[])?.succeeded();
    world.hunt();
    Ok(())
}
