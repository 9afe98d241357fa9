//! A hostile script: what it could read of the server, of its runner, and of another job.

use anyhow::{Context as _, Result};
use keyferry_api::pipelines::PipelineView;
use keyferry_domain::run::Isolation;
use keyferry_testkit::peers::git_http;
use keyferry_testkit::require;

use crate::world::{TeamGit, World, script_job, script_pipeline, text};

#[test]
fn a_hostile_job_finds_nothing_of_others() -> Result<()> {
    if !require(git_http::PROGRAMS) || !require(&["bwrap"]) {
        return Ok(());
    }
    let world = World::start()?;
    let team = TeamGit::start(&world)?;
    let owner = &world.owner;
    team.connect(owner, "team-git", "public")?;

    // A job that has access holds it for as long as the hostile one looks around.
    let script = "echo \"socket: $KEYFERRY_SOCKET\"\necho \"private: $DOCKER_CONFIG\"\necho \"pid: $$\"\n\
                  echo running now\nwhile true; do sleep 0.1; done";
    let yaml = team.pipeline("team-git", &script_job("job", "", script));
    owner.create_pipeline::<PipelineView>("victim", &yaml)?;
    let victim = owner.start("victim", &[])?;
    let log = owner.wait_for_log(&victim, "running now")?;
    let said = |name: &str| -> Result<String> {
        let line = log.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.with_context(|| format!("no {name} in {log}"))?.trim().to_owned())
    };
    let (socket, private) = (said("socket: ")?, said("private: ")?);
    let data = text(&world.server.data());
    let (server, url) = (world.server.id(), &team.url);

    // Each line must fail; what succeeds is named.
    let hostile = format!(
        "found=0
try() {{ if \"$@\" >/tmp/out 2>&1; then echo \"REACHED: $*\"; head -c 200 /tmp/out; found=1; fi; }}
try cat {data}/root.key
try cat {data}/keyferry.db
try sh -c 'ls -A {data} | grep -vx work'
try sh -c 'ls -A {data}/work | grep -vx \"$(basename \"$(dirname \"$KEYFERRY_SOCKET\")\")\"'
try test -e {socket}
try test -e {private}
try cat /proc/{server}/environ
try cat /proc/{server}/maps
try test -d /proc/{server}
try kill -0 {server}
try sh -c 'ls /proc | grep -x [0-9]* | wc -l | grep -qv ^[0-9]$'
try sh -c 'printf \"url={url}\\n\\n\" | KEYFERRY_SOCKET={socket} git credential fill | grep password'
try sh -c 'printf \"url={url}\\n\\n\" | git credential fill | grep password'
try cat /etc/shadow
try sh -c 'find /root -type f | grep -v /keyferry$'
try touch /usr/bin/keyferry-was-here
try touch \"$(dirname \"$(command -v keyferry)\")/keyferry-was-here\"
try mount -t tmpfs none /mnt
try unshare --mount true
try sh -c 'tr \"\\0\" \"\\n\" < /proc/self/environ | grep -i kf_'
try sh -c 'cat /proc/*/environ | tr \"\\0\" \"\\n\" | grep kf_job_'
exit $found"
    );
    owner.create_pipeline::<PipelineView>("hostile", &script_pipeline("", &hostile))?;
    let run = owner.run("hostile", &[])?;
    run.succeeded();
    assert!(!run.log.contains("REACHED"), "{}", run.log);
    assert_eq!(run.job("main.job").isolation, Some(Isolation::Namespaces));

    // It leaves nothing behind: no process, no file.
    let lingering = "(setsid sh -c 'exec -a keyferry-lingers sleep 600' &) ; echo planted > /tmp/keyferry-planted\n\
                     test -s /tmp/keyferry-planted";
    owner.create_pipeline::<PipelineView>("linger", &script_pipeline("", lingering))?;
    owner.run("linger", &[])?.succeeded();
    assert!(!is_running("keyferry-lingers"), "a process outlived its job");
    assert!(!std::path::Path::new("/tmp/keyferry-planted").exists());

    owner.ask::<serde_json::Value>(&["run", "cancel", victim.id.as_str()])?;
    owner.watch(&victim)?;
    let left = std::fs::read_dir(world.server.data().join("work"))?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| name.starts_with("job_"))
        .count();
    assert_eq!(left, 0, "folders of jobs that are over");
    world.hunt();
    Ok(())
}

#[test]
fn a_job_that_does_its_worst_with_a_password_finds_it_masked() -> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let world = World::start()?;
    let team = TeamGit::start(&world)?;
    let owner = &world.owner;
    team.connect(owner, "team-git", "public")?;
    let watch = team.password.watch_processes();
    let script = "set -x
printf 'url=%s\\n\\n' \"$(git remote get-url origin)\" | git credential fill
GIT_TRACE=1 GIT_TRACE_CURL=1 GIT_CURL_VERBOSE=1 git fetch origin 2>&1
env
cat .git/config ~/.gitconfig \"$DOCKER_CONFIG\"/* 2>/dev/null || true
find / -xdev -newer \"$0\" -type f -size -64k 2>/dev/null | head -500 | xargs cat 2>/dev/null | tr -cd '[:print:]\\n' | head -c 200000 || true
echo the end";
    let yaml = team.pipeline("team-git", &script_job("job", "", script));
    owner.create_pipeline::<PipelineView>("worst", &yaml)?;
    let run = owner.run("worst", &[])?;
    run.succeeded();
    assert!(run.log.contains("password=****") && run.log.contains("the end"), "{}", run.log);
    assert_eq!(watch.finish(), []);
    world.hunt();
    Ok(())
}

fn is_running(name: &str) -> bool {
    std::fs::read_dir("/proc").into_iter().flatten().flatten().any(|entry| {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        arguments.starts_with(name.as_bytes())
    })
}
