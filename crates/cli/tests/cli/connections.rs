//! Connections over the wire, and how they are shown.

use serde_json::{Value, json};

use crate::world::{CREDENTIAL, StandIn, USER, World, connection, in_organization, problem, types};

fn at(method: &str, rest: &str) -> String {
    format!("{method} {}", in_organization(rest))
}

#[test]
fn create_sends_what_the_type_declares() {
    let create = at("POST", "connections");
    let server = StandIn::start(&[
        ("GET /api/v1/connection-types", 200, types()),
        (&create, 201, connection("healthy")),
    ]);
    let world = World::signed_in(&server);
    world.write("password", "hunter2\n");
    let outcome = world.run(&[
        "connection",
        "create",
        "--type",
        "CUSTOMGIT",
        "--name",
        "Team",
        "--id",
        "team-git",
        "--set",
        "url=https://git.example.com/team",
        "--set",
        "username=deploy",
        "--secret",
        "password=@password",
        "--scope",
        "public",
    ]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(
        server.body(&create),
        json!({
            "name": "Team", "type": "git", "connection_id": "team-git",
            "settings": { "url": "https://git.example.com/team" },
            "credential": {
                "kind": "username_password",
                "fields": { "username": "deploy", "password": "hunter2" },
            },
            "scope": "public", "skip_verify": false,
        })
    );
    insta::assert_snapshot!("connection_create", outcome.stdout);
    assert_eq!(outcome.stderr, "pipelines name it by its ID: team-git\n");
}

#[test]
fn the_kind_of_credential_follows_from_the_fields() {
    let create = at("POST", "connections");
    let server = StandIn::start(&[
        ("GET /api/v1/connection-types", 200, types()),
        (&create, 201, connection("healthy")),
    ]);
    let world = World::signed_in(&server);
    world.write("key", "-----BEGIN X-----\nabc\n");
    world.write("hosts", "h ssh-ed25519 AAAA\n");
    let outcome = world.run(&[
        "connection",
        "create",
        "--type",
        "git",
        "--name",
        "Keys",
        "--set",
        "url=ssh://git@h",
        "--set",
        "known_hosts=@hosts",
        "--secret",
        "private_key=@key",
    ]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let body = server.body(&create);
    assert_eq!(body["credential"]["kind"], "ssh_key");
    assert_eq!(body["credential"]["fields"]["private_key"], "-----BEGIN X-----\nabc\n");
    assert_eq!(body["settings"]["known_hosts"], "h ssh-ed25519 AAAA\n");
    assert_eq!(body["scope"], "private");
}

#[test]
fn missing_and_unknown_fields_are_named_without_asking_the_server() {
    let server = StandIn::start(&[("GET /api/v1/connection-types", 200, types())]);
    let world = World::signed_in(&server);
    let create = ["connection", "create", "--type", "git", "--name", "x"];
    let outcome = world.run(&create);
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (
            2,
            "error: some fields are missing\n  --set url=…  The url\n  --set username=…  The \
             username\n  --secret password=@PATH  The password\n"
        )
    );
    for (options, text) in [
        (&["--set", "adress=x"][..], "there is no field `adress` here"),
        (&["--kind", "values"], "does not fit here"),
        (&["--file", "a=@b"], "`--file` is for credentials of kind `values` only"),
        (&["--set", "url"], "--set takes NAME=VALUE"),
        (&["--set", "url=a", "--set", "url=b"], "--set url is given twice"),
        (&["--credential", "x", "--secret", "password=-"], "both given"),
        (&["--scope", "public", "--user", USER], "for the custom scope only"),
    ] {
        let outcome = world.run(&[&create[..], options].concat());
        assert_eq!(outcome.code, 2, "{options:?}");
        assert!(outcome.stderr.contains(text), "{options:?}: {}", outcome.stderr);
    }
    let outcome = world.run(&["connection", "create", "--type", "svn", "--name", "x"]);
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (5, "error: there is no connection type `svn`\n\nhint: types: `git`, `generic`\n")
    );
    assert!(server.seen().iter().all(|seen| seen.method == "GET"));
}

#[test]
fn a_list_is_read_to_its_end_as_table_and_as_json() {
    let list = at("GET", "connections");
    let page =
        |next: Option<&str>| json!({ "items": [connection("healthy")], "next_cursor": next });
    let answers = [
        (list.as_str(), 200, page(Some("2"))),
        (list.as_str(), 200, page(None)),
        (list.as_str(), 200, page(Some("2"))),
        (list.as_str(), 200, page(None)),
        (list.as_str(), 200, json!({ "items": [] })),
    ];
    let server = StandIn::start(&answers);
    let outcome = World::signed_in(&server).run(&["connection", "list"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    insta::assert_snapshot!("connection_list", outcome.stdout);
    // The pages together are one array.
    let outcome = World::signed_in(&server).run(&["connection", "list", "--output", "json"]);
    let all: Vec<serde_json::Value> = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(all.len(), 2);
    assert!(outcome.stdout.starts_with("[\n  {\n") && outcome.stdout.ends_with("\n  }\n]\n"));
    assert!(outcome.stdout.contains("\n  },\n  {\n"), "{}", outcome.stdout);
    let outcome = World::signed_in(&server).run(&["connection", "list"]);
    assert_eq!(outcome.stdout, "");
    assert!(outcome.stderr.starts_with("no connections;"));
    let outcome = World::signed_in(&server).run(&["connection", "list", "--output", "json"]);
    assert_eq!(outcome.stdout, "[]\n");
    assert!(server.seen().iter().all(|seen| seen.token.as_deref() == Some("kf_pat_of_the_test")));
}

#[test]
fn reconfigure_keeps_settings_and_sends_the_version_that_was_read() {
    let (get, reconfigure) =
        (at("GET", "connections/team-git"), at("POST", "connections/team-git/reconfigure"));
    let server = StandIn::start(&[
        ("GET /api/v1/connection-types", 200, types()),
        (&get, 200, connection("healthy")),
        (
            &reconfigure,
            200,
            json!({
                "connection": connection("healthy"), "used_by": ["nightly"],
                "pipelines_edited": 0, "overlap_until": "2026-01-31T12:15:00.000Z",
            }),
        ),
    ]);
    let world = World::signed_in(&server);
    let outcome = world.run_with_input(
        &[
            "connection",
            "reconfigure",
            "team-git",
            "--set",
            "username=deploy",
            "--secret",
            "password=-",
        ],
        "hunter3",
    );
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(
        server.body(&reconfigure),
        json!({
            "credential": {
                "kind": "username_password",
                "fields": { "username": "deploy", "password": "hunter3" },
            },
            "skip_verify": false, "version": 7,
        })
    );
    assert_eq!(
        outcome.stderr,
        "0 pipelines edited\nthe version before stays usable until 2026-01-31T12:15:00Z; \
         `keyferry connection rollback team-git` brings it back\n"
    );
}

#[test]
fn reconfigure_of_settings_alone_sends_no_credential() {
    let (get, reconfigure) =
        (at("GET", "connections/team-git"), at("POST", "connections/team-git/reconfigure"));
    let done = json!({
        "connection": connection("healthy"), "used_by": [], "pipelines_edited": 0,
    });
    let server = StandIn::start(&[
        ("GET /api/v1/connection-types", 200, types()),
        (&get, 200, connection("healthy")),
        (&reconfigure, 200, done),
    ]);
    let world = World::signed_in(&server);
    let outcome =
        world.run(&["connection", "reconfigure", "team-git", "--set", "url=https://g2.example"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(
        server.body(&reconfigure),
        json!({ "settings": { "url": "https://g2.example" }, "skip_verify": false, "version": 7 })
    );
    let outcome = world.run(&["connection", "reconfigure", "team-git"]);
    assert_eq!(outcome.code, 2);
    let outcome = world.run(&["connection", "reconfigure", "team-git", "--unset", "colour"]);
    assert_eq!(outcome.code, 5);
}

#[test]
fn a_stale_version_and_a_used_connection_are_conflicts() {
    let rename = at("PATCH", "connections/team-git");
    let delete = at("DELETE", "connections/team-git");
    let mut used = problem(409, "in_use", "the connection `team-git` is in use");
    used["used_by"] = json!(["pipeline `nightly`"]);
    let server = StandIn::start(&[
        (&at("GET", "connections/team-git"), 200, connection("healthy")),
        (&rename, 409, problem(409, "stale_version", "it was changed in the meantime")),
        (&delete, 409, used),
    ]);
    let world = World::signed_in(&server);
    let outcome = world.run(&["connection", "rename", "team-git", "New"]);
    assert_eq!(outcome.code, 6);
    assert_eq!(server.body(&rename), json!({ "name": "New", "version": 7 }));
    let outcome = world.run(&["connection", "delete", "team-git"]);
    assert_eq!(outcome.code, 2, "nobody said yes");
    let outcome = world.run(&["connection", "delete", "team-git", "--yes"]);
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (
            6,
            "error: the connection `team-git` is in use\n  used by pipeline `nightly`\n\nhint: \
             `--force` deletes it all the same; the pipelines then fail\n"
        )
    );
}

#[test]
fn verify_fails_when_the_service_refuses() {
    let verify = at("POST", "connections/team-git/verify");
    let mut rejected: Value = connection("rejected");
    rejected["health"]["reason"] = json!("the service answered \u{1b}[2J401");
    let server = StandIn::start(&[
        (verify.as_str(), 200, connection("healthy")),
        (verify.as_str(), 200, rejected),
    ]);
    let world = World::signed_in(&server);
    let outcome = world.run(&["connection", "verify", "team-git"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "healthy\n"));
    let outcome = world.run(&["connection", "verify", "team-git", "--output", "json"]);
    assert_eq!(outcome.code, 8);
    assert!(outcome.stderr.starts_with("error: team-git is rejected\n"), "{}", outcome.stderr);
    assert!(serde_json::from_str::<Value>(&outcome.stdout).is_ok());
}

#[test]
fn users_are_found_by_e_mail_address() {
    let members = json!({ "items": [{
        "user_id": USER, "email": "jane@example.com", "name": "Jane", "role": "member",
        "created_at": "2026-01-31T12:00:00.000Z", "version": 1,
    }] });
    let transfer = at("POST", "connections/team-git/transfer");
    let server = StandIn::start(&[
        (&at("GET", "members"), 200, members),
        (&at("GET", "connections/team-git"), 200, connection("healthy")),
        (&transfer, 200, connection("healthy")),
    ]);
    let world = World::signed_in(&server);
    let outcome = world.run(&["connection", "transfer", "team-git", "--to", "Jane@Example.com"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(server.body(&transfer), json!({ "user_id": USER, "version": 7 }));
    let outcome = world.run(&["connection", "transfer", "team-git", "--to", "nobody@example.com"]);
    assert_eq!(outcome.code, 5);
}

#[test]
fn a_credential_is_found_by_name_unless_two_have_it() {
    let one = |id: &str, name: &str| {
        json!({
            "id": id, "name": name, "kind": "token", "owner_id": USER, "public_fields": {},
            "value_names": [], "versions": [{
                "number": 1, "state": { "state": "current" },
                "created_at": "2026-01-31T12:00:00.000Z",
            }],
            "connections": [], "created_at": "2026-01-31T12:00:00.000Z", "version": 1,
        })
    };
    let items = [
        one(CREDENTIAL, "Deploy"),
        one("cred_01arz3ndektsv4rrffq69g5faw", "Twice"),
        one("cred_01arz3ndektsv4rrffq69g5fax", "Twice"),
    ];
    let server = StandIn::start(&[(&at("GET", "credentials"), 200, json!({ "items": items }))]);
    let world = World::signed_in(&server);
    let outcome = world.run(&["credential", "get", "Deploy"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stdout.contains(CREDENTIAL) && outcome.stdout.contains("1: current"));
    assert_eq!(world.run(&["credential", "get", "Twice"]).code, 2);
    assert_eq!(world.run(&["credential", "get", "None"]).code, 5);
}

#[test]
fn every_kind_of_refusal_has_its_exit_code() {
    for (status, code) in
        [(400, 2), (401, 3), (403, 4), (404, 5), (409, 6), (429, 7), (502, 8), (503, 8), (500, 1)]
    {
        let get = at("GET", "connections/team-git");
        let server = StandIn::start(&[(&get, status, problem(status, "x", "no"))]);
        let outcome = World::signed_in(&server).run(&["connection", "get", "team-git"]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (code, ""), "{status}");
        assert!(outcome.stderr.starts_with("error: no\n"), "{}", outcome.stderr);
    }
}
