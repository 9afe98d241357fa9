//! Callers who hang up in mid-request: what they asked for is done to its end, and the server does not
//! stop before it is.

use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keyferry_api::connections::ConnectionView;
use keyferry_domain::connection::HealthStatus;
use keyferry_testkit::peers::git_http;
use keyferry_testkit::require;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::world::{TeamGit, World};

/// Less than the server waits for a service.
const SOON: Duration = Duration::from_secs(10);

/// A way to a server that lets nothing through until it is opened.
struct SlowWay {
    port: u16,
    asked: Receiver<()>,
    opened: Arc<(Mutex<bool>, Condvar)>,
}

impl SlowWay {
    fn to(server: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (tell, asked) = channel();
        let opened = Arc::new((Mutex::new(false), Condvar::new()));
        let gate = Arc::clone(&opened);
        // They end with the test's process.
        thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                let (tell, gate) = (tell.clone(), Arc::clone(&gate));
                thread::spawn(move || {
                    let _ = tell.send(());
                    let (is_open, changed) = &*gate;
                    let guard = is_open.lock().unwrap_or_else(PoisonError::into_inner);
                    drop(changed.wait_while(guard, |is_open| !*is_open));
                    let _ = pass(&caller, server);
                });
            }
        });
        Ok(Self { port, asked, opened })
    }

    fn open(&self) {
        let (is_open, changed) = &*self.opened;
        *is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }
}

fn pass(caller: &TcpStream, server: u16) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server))?;
    let (mut from_server, mut to_caller) = (server.try_clone()?, caller.try_clone()?);
    let back = thread::spawn(move || {
        let _ = copy(&mut from_server, &mut to_caller);
        let _ = to_caller.shutdown(Shutdown::Write);
    });
    let _ = copy(&mut &*caller, &mut &server);
    let _ = server.shutdown(Shutdown::Write);
    let _ = back.join();
    Ok(())
}

#[test]
fn a_connection_is_created_to_the_end_for_a_caller_who_hung_up_and_a_server_that_stops()
-> Result<()> {
    if !require(git_http::PROGRAMS) {
        return Ok(());
    }
    let world = World::start()?;
    let team = TeamGit::start(&world)?;
    let owner = &world.owner;
    let way = SlowWay::to(team.server.port())?;
    let server_port = format!(":{}", team.server.port());
    let url = team.server.url().replace(&server_port, &format!(":{}", way.port));
    let url = format!("url={url}");
    let password = format!("password=@{}", owner.file("password", team.password.value())?);
    let create = ["connection", "create", "--type", "git", "--id", "slow-git", "--name", "Slow"];
    let fields = ["--set", &url, "--set", "username=ci", "--secret", &password];
    let rest = ["--set", "verify_repository=team/app"];
    let mut caller = owner.start_command(&[&create[..], &fields, &rest].concat())?;
    way.asked.recv_timeout(SOON).context("the service was never asked")?;
    // The caller is gone, and its connection with it, while the service thinks.
    caller.kill()?;
    caller.wait()?;

    // The server is asked to stop, and the service answers only then.
    let server = i32::try_from(world.server.id()).ok().and_then(Pid::from_raw);
    kill_process(server.context("an odd process id")?, Signal::TERM)?;
    world.server.wait_for_log("shutting down", SOON)?;
    let code = thread::scope(|scope| -> Result<i32> {
        let stopping = scope.spawn(|| world.server.stop());
        thread::sleep(Duration::from_millis(500));
        let is_waiting = !stopping.is_finished();
        way.open();
        let code = stopping.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??;
        ensure!(is_waiting, "the server stopped with a change under way");
        Ok(code)
    })?;
    assert_eq!(code, 0);

    world.server.restart()?;
    let made: ConnectionView = owner.ask(&["connection", "get", "slow-git"])?;
    assert_eq!(made.health.status, HealthStatus::Healthy, "{:?}", made.health);
    let list = ["audit", "list", "--action", "connection.create", "--target", "slow-git"];
    let events: Vec<Value> = owner.ask(&list)?;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["outcome"], "allowed");
    world.assert_audit_is_whole()?;
    world.hunt();
    Ok(())
}
