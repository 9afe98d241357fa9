//! `keyferry exec`: the command's own exit code, and the end of its workload whatever happens.

use serde_json::{Value, json};

use crate::world::{StandIn, World, in_organization, problem};

const WORKLOAD: &str = "work_01arz3ndektsv4rrffq69g5fav";

fn workload() -> Value {
    json!({
        "id": WORKLOAD, "token": "kf_work_canary", "expires_at": "2027-01-31T12:00:00.000Z",
        "connections": [
            { "connection_id": "team-git", "connection_type": "git", "address": "git.example.com" },
        ],
    })
}

fn server() -> StandIn {
    StandIn::start(&[
        (&format!("POST {}", in_organization("workloads")), 201, workload()),
        (
            &format!("DELETE {}", in_organization(&format!("workloads/{WORKLOAD}"))),
            204,
            json!(null),
        ),
    ])
}

fn is_ended(server: &StandIn) -> bool {
    server.seen().iter().any(|seen| seen.method == "DELETE" && seen.path.ends_with(WORKLOAD))
}

#[test]
fn the_commands_exit_code_is_ours_and_the_workload_ends() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        let server = server();
        let world = World::signed_in(&server);
        let outcome = world.run(&["exec", "-c", "team-git", "--", "sh", "-c", script]);
        assert_eq!(outcome.code, code, "{script}: {}", outcome.stderr);
        assert!(is_ended(&server), "{script}");
    }
}

#[test]
fn the_command_sees_the_socket_and_neither_token() {
    let server = server();
    let world = World::signed_in(&server);
    let script = "test -S \"$KEYFERRY_SOCKET\" && command -v git-credential-keyferry && env";
    let outcome = world.run(&["exec", "-c", "team-git", "--", "sh", "-c", script]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    for token in ["kf_work_canary", "kf_pat_of_the_test"] {
        assert!(!outcome.stdout.contains(token), "{}", outcome.stdout);
    }
}

#[test]
fn a_command_that_does_not_start_ends_the_workload_too() {
    let server = server();
    let world = World::signed_in(&server);
    let outcome = world.run(&["exec", "-c", "team-git", "--", "no-such-program"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.starts_with("error: failed to start `no-such-program`\n  because: "));
    assert!(is_ended(&server));
}

#[test]
fn a_connection_that_may_not_be_used_starts_nothing() {
    let denied = problem(403, "denied", "you may not use the connection `team-git`");
    let create = format!("POST {}", in_organization("workloads"));
    let server = StandIn::start(&[(&create, 403, denied)]);
    let world = World::signed_in(&server);
    let marker = world.path("marker").display().to_string();
    let outcome = world.run(&["exec", "-c", "team-git", "--", "touch", &marker]);
    assert_eq!(outcome.code, 4);
    assert!(outcome.stderr.starts_with("error: you may not use the connection `team-git`\n"));
    assert!(!world.path("marker").exists());
    assert_eq!(server.body(&create)["connections"], json!(["team-git"]));
}

#[test]
fn nothing_is_left_behind() {
    let server = server();
    let world = World::signed_in(&server);
    std::fs::create_dir(world.path("temporary")).unwrap();
    let temporary = world.path("temporary").display().to_string();
    let world = world.with("TMPDIR", &temporary);
    let outcome = world.run(&["exec", "-c", "team-git", "--", "true"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(std::fs::read_dir(world.path("temporary")).unwrap().count(), 0);
}
