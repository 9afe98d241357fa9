//! Members, groups and tokens: what is shown once goes to standard output alone.

use serde_json::{Value, json};

use crate::world::{Outcome, StandIn, USER, World, in_organization};

const GROUP: &str = "group_01arz3ndektsv4rrffq69g5fav";
const OTHER: &str = "user_01arz3ndektsv4rrffq69g5faw";

fn member(id: &str, email: &str) -> Value {
    json!({
        "user_id": id, "email": email, "name": "Jane", "role": "member",
        "created_at": "2026-01-31T12:00:00.000Z", "version": 4,
    })
}

#[test]
fn an_invitation_is_the_only_line_on_standard_output() {
    let create = format!("POST {}", in_organization("members"));
    let created = json!({
        "member": member(USER, "jane@example.com"), "invitation_token": "kf_setup_of_jane",
    });
    let server = StandIn::start(&[(&create, 201, created)]);
    let outcome = World::signed_in(&server).run(&["member", "add", "jane@example.com"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "kf_setup_of_jane\n"));
    assert!(!outcome.stderr.contains("kf_setup"));
    assert_eq!(
        server.body(&create),
        json!({ "email": "jane@example.com", "name": "jane", "role": "member" })
    );
}

#[test]
fn the_list_tells_who_has_not_accepted_yet() {
    let mut invited = member(OTHER, "ali@example.com");
    invited["invited"] = json!(true);
    let members = json!({ "items": [member(USER, "jane@example.com"), invited] });
    let list = format!("GET {}", in_organization("members"));
    let server = StandIn::start(&[(&list, 200, members)]);
    let outcome = World::signed_in(&server).run(&["member", "list"]);
    let lines: Vec<_> = outcome.stdout.lines().collect();
    let of = |email: &str| *lines.iter().find(|line| line.contains(email)).unwrap();
    assert!(of("ali@example.com").ends_with("invited"), "{}", outcome.stdout);
    assert!(of("jane@example.com").contains("2026-01-31"), "{}", outcome.stdout);
}

#[test]
fn a_new_token_is_the_only_line_on_standard_output() {
    let create = format!("POST {}", in_organization("tokens"));
    let created = json!({ "token": "kf_pat_new", "view": {
        "id": "tok_01arz3ndektsv4rrffq69g5fav", "user_id": USER, "name": "nightly",
        "hint": "kf_pat_newx", "created_at": "2026-01-31T12:00:00.000Z",
        "expires_at": "2026-03-02T12:00:00.000Z", "last_used_at": null,
    } });
    let server = StandIn::start(&[(&create, 201, created)]);
    let world = World::signed_in(&server);
    let Outcome { stdout, stderr, code } = world.run(&["token", "create", "nightly"]);
    assert_eq!((code, stdout.as_str()), (0, "kf_pat_new\n"));
    assert!(stderr.contains("2026-03-02T12:00:00Z") && !stderr.contains("kf_pat_new"), "{stderr}");
    assert_eq!(server.body(&create), json!({ "name": "nightly", "expires_in_days": 30 }));
}

#[test]
fn a_group_keeps_the_users_that_are_not_named() {
    let group = json!({ "id": GROUP, "name": "deployers", "users": [USER], "version": 2 });
    let members =
        json!({ "items": [member(USER, "jane@example.com"), member(OTHER, "ali@example.com")] });
    let update = format!("PUT {}", in_organization(&format!("groups/{GROUP}")));
    let server = StandIn::start(&[
        (&format!("GET {}", in_organization("groups")), 200, json!({ "items": [group.clone()] })),
        (&format!("GET {}", in_organization("members")), 200, members),
        (&update, 200, group),
    ]);
    let world = World::signed_in(&server);
    let outcome = world.run(&["group", "update", "deployers", "--add", "ali@example.com"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(
        server.body(&update),
        json!({ "name": "deployers", "users": [USER, OTHER], "version": 2 })
    );
    assert_eq!(world.run(&["group", "update", "strangers", "--add", USER]).code, 5);
    assert_eq!(world.run(&["group", "update", "deployers", "--add", "x@example.com"]).code, 5);
}

#[test]
fn removing_needs_a_yes_and_a_member_that_is_there() {
    let members = json!({ "items": [member(USER, "jane@example.com")] });
    let remove = in_organization(&format!("members/{USER}"));
    let server = StandIn::start(&[
        (&format!("GET {}", in_organization("members")), 200, members),
        (&format!("DELETE {remove}"), 204, Value::Null),
    ]);
    let world = World::signed_in(&server);
    assert_eq!(world.run(&["member", "remove", "jane@example.com"]).code, 2);
    assert_eq!(world.run(&["member", "remove", "joe@example.com", "--yes"]).code, 5);
    assert!(server.seen().iter().all(|seen| seen.method == "GET"));
    assert_eq!(world.run(&["member", "remove", "jane@example.com", "--yes"]).code, 0);
}
