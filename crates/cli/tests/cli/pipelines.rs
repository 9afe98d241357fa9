//! Pipelines: mistakes are found without a server, and shown with their place.

use serde_json::{Value, json};

use crate::world::{PIPELINE, StandIn, USER, World, in_organization};

const GOOD: &str = "stages:
  build:
    jobs:
      compile:
        steps:
          hello:
            step: Command
            with:
              run: echo hello
";

const BAD: &str = "stages:
  build:
    jobs:
      compile:
        steps:
          hello:
            step: Comand
            with:
              run: echo hello
";

fn pipeline(state: &str) -> Value {
    json!({
        "id": PIPELINE, "name": "nightly", "owner_id": USER,
        "revision": {
            "number": 3, "yaml": GOOD, "author_id": USER, "created_at": "2026-01-31T12:00:00.000Z",
        },
        "bindings": [{
            "id": "bind_01arz3ndektsv4rrffq69g5fav", "pipeline_id": PIPELINE,
            "pipeline_name": "nightly", "place": "stages.build.jobs.compile",
            "connection_id": "team-git", "state": state, "approved_by": null, "approved_at": null,
        }],
        "created_at": "2026-01-31T12:00:00.000Z", "updated_at": "2026-01-31T12:00:00.000Z",
        "version": 9,
    })
}

#[test]
fn check_works_without_a_server() {
    let world = World::new();
    world.write("good.yaml", GOOD);
    let outcome = world.run(&["pipeline", "check", "good.yaml"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("has no mistakes"));
    let outcome = world.run(&["pipeline", "check", "good.yaml", "--output", "json"]);
    assert_eq!(outcome.stdout, "[]\n");
}

#[test]
fn mistakes_are_shown_with_their_line() {
    let world = World::new();
    world.write("bad.yaml", BAD);
    let outcome = world.run(&["pipeline", "check", "bad.yaml"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.stdout.contains("bad.yaml:7:19"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("Command"), "{}", outcome.stdout);
    assert_eq!(outcome.stderr, "error: `bad.yaml` has 1 mistake\n");
    let outcome = world.run_with_input(&["pipeline", "check", "-", "--output", "json"], BAD);
    assert_eq!(outcome.code, 2);
    let shown: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&shown[0]["line"], &shown[0]["code"]), (&json!(7), &json!("unknown_step")));
}

#[test]
fn files_that_are_no_pipelines_are_refused() {
    let world = World::new();
    world.write("huge.yaml", &"a".repeat(2 * 1024 * 1024));
    std::fs::write(world.path("binary.yaml"), b"\xff\xfe\x00").unwrap();
    world.write("broken.yaml", "a: [");
    for file in ["missing.yaml", "huge.yaml", "binary.yaml", "broken.yaml", "."] {
        let outcome = world.run(&["pipeline", "check", file]);
        assert_eq!(outcome.code, 2, "{file}: {}", outcome.stderr);
    }
}

#[test]
fn the_server_looks_up_connections_when_asked() {
    let check = format!("POST {}", in_organization("pipelines/check"));
    let found = json!({ "diagnostics": [{
        "line": 4, "column": 7, "path": "stages.build.jobs.compile", "code": "unknown_connection",
        "message": "there is no connection `team-gti`", "hint": "did you mean `team-git`?",
    }] });
    let server = StandIn::start(&[(&check, 200, found)]);
    let world = World::signed_in(&server);
    world.write("good.yaml", GOOD);
    let outcome = world.run(&["pipeline", "check", "good.yaml", "--online"]);
    assert_eq!(outcome.code, 2);
    assert_eq!(
        outcome.stdout,
        "error[unknown_connection]: there is no connection `team-gti`\n --> good.yaml:4:7 \
         (stages.build.jobs.compile)\n  = hint: did you mean `team-git`?\n"
    );
}

#[test]
fn a_text_with_mistakes_is_not_sent() {
    let server = StandIn::start(&[]);
    let world = World::signed_in(&server);
    world.write("bad.yaml", BAD);
    let outcome = world.run(&["pipeline", "create", "nightly", "bad.yaml"]);
    assert_eq!(outcome.code, 2);
    let outcome = world.run(&["pipeline", "update", "nightly", "bad.yaml"]);
    assert_eq!(outcome.code, 2);
    assert!(server.seen().is_empty());
}

#[test]
fn update_and_approve_send_what_was_read() {
    let one = in_organization(&format!("pipelines/{PIPELINE}"));
    let approve =
        format!("POST {}", in_organization("bindings/bind_01arz3ndektsv4rrffq69g5fav/approve"));
    let summary = json!({ "items": [{
        "id": PIPELINE, "name": "nightly", "revision": 3, "updated_at": "2026-01-31T12:00:00.000Z",
    }] });
    let server = StandIn::start(&[
        (&format!("GET {}", in_organization("pipelines")), 200, summary),
        (&format!("GET {one}"), 200, pipeline("needs_approval")),
        (&format!("PATCH {one}"), 200, pipeline("needs_approval")),
        (&approve, 200, pipeline("approved")["bindings"][0].clone()),
    ]);
    let world = World::signed_in(&server);
    world.write("good.yaml", GOOD);
    let outcome = world.run(&["pipeline", "update", "nightly", "good.yaml"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(server.body(&format!("PATCH {one}")), json!({ "yaml": GOOD, "version": 9 }));
    assert!(outcome.stderr.contains("keyferry pipeline approve pipe_"), "{}", outcome.stderr);
    let outcome = world.run(&["pipeline", "approve", "nightly"]);
    assert_eq!(outcome.code, 2, "nobody said yes");
    let outcome = world.run(&["pipeline", "approve", "nightly", "--yes"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(server.body(&approve), json!({ "revision": 3 }));
    let other = "bind_01arz3ndektsv4rrffq69g5faw";
    assert_eq!(world.run(&["pipeline", "approve", "nightly", other, "--yes"]).code, 5);
    let outcome = world.run(&["pipeline", "get", "nightly", "--yaml"]);
    assert_eq!(outcome.stdout, GOOD);
}

#[test]
fn sharing_changes_the_place_that_somebody_has_or_gives_a_new_one() {
    const OTHER: &str = "user_01arz3ndektsv4rrffq69g5faw";
    let person = |id: &str, email: &str| {
        json!({
            "user_id": id, "email": email, "name": "Jane", "role": "member",
            "created_at": "2026-01-31T12:00:00.000Z", "version": 4,
        })
    };
    let people =
        json!({ "items": [person(USER, "jane@example.com"), person(OTHER, "ali@example.com")] });
    let pipeline = "pipe_01arz3ndektsv4rrffq69g5fav";
    let members = in_organization(&format!("pipelines/{pipeline}/members"));
    let present = json!({ "user_id": USER, "role": "viewer", "version": 3 });
    let set = |id: &str| format!("PUT {members}/{id}");
    let server = StandIn::start(&[
        (&format!("GET {}", in_organization("members")), 200, people),
        (&format!("GET {members}"), 200, json!({ "items": [present.clone()] })),
        (&set(USER), 200, present.clone()),
        (&set(OTHER), 200, json!({ "user_id": OTHER, "role": "admin", "version": 1 })),
        (&format!("DELETE {members}/{USER}"), 204, Value::Null),
    ]);
    let world = World::signed_in(&server);
    let listed = world.run(&["pipeline", "members", pipeline]);
    assert!(listed.stdout.contains("jane@example.com"), "{}", listed.stdout);
    assert_eq!(world.run(&["pipeline", "share", pipeline, "jane@example.com", "boss"]).code, 2);
    assert_eq!(world.run(&["pipeline", "share", pipeline, "joe@example.com", "admin"]).code, 5);
    assert_eq!(world.run(&["pipeline", "unshare", pipeline, "joe@example.com"]).code, 5);
    assert!(server.seen().iter().all(|seen| seen.method == "GET"));
    assert_eq!(world.run(&["pipeline", "share", pipeline, "jane@example.com", "runner"]).code, 0);
    assert_eq!(server.body(&set(USER)), json!({ "role": "runner", "version": 3 }));
    assert_eq!(world.run(&["pipeline", "share", pipeline, "ali@example.com", "admin"]).code, 0);
    assert_eq!(server.body(&set(OTHER)), json!({ "role": "admin" }));
    assert_eq!(world.run(&["pipeline", "unshare", pipeline, "jane@example.com"]).code, 0);
}
