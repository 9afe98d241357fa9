//! A secret on the command line is refused everywhere, before anything is sent, and not repeated.

use serde_json::json;

use crate::world::{StandIn, World, connection, in_organization, types};

#[test]
fn a_secret_as_a_value_is_refused_with_how_to_do_it() {
    let server = StandIn::start(&[("GET /api/v1/connection-types", 200, types())]);
    let world = World::signed_in(&server);
    let outcome = world.run(&[
        "connection",
        "create",
        "--type",
        "git",
        "--name",
        "Team",
        "--set",
        "url=https://git.example.com/team",
        "--set",
        "username=deploy",
        "--secret",
        "password=hunter2",
    ]);
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (
            2,
            "error: --secret password takes where the secret is, not the secret itself\n  the \
             command line is seen by every user of this machine and kept in its history\n\nhint: \
             use `@PATH` for a file, `-` for standard input, or `env:NAME` for a variable\nhint: \
             if that was the secret, change it\n"
        )
    );
    assert!(server.seen().iter().all(|seen| seen.method == "GET"));
}

#[test]
fn no_option_takes_a_secret_itself() {
    let server = StandIn::start(&[
        ("GET /api/v1/connection-types", 200, types()),
        (&format!("GET {}", in_organization("connections/team-git")), 200, connection("healthy")),
    ]);
    let world = World::signed_in(&server);
    let create = ["connection", "create", "--type", "git", "--name", "x", "--set", "url=u"];
    let generic = ["connection", "create", "--type", "generic", "--name", "x"];
    let reconfigure = ["connection", "reconfigure", "team-git"];
    let cases: Vec<(&[&str], &[&str])> = vec![
        (&create, &["--secret", "private_key=canary"]),
        (&create, &["--set", "username=u", "--set", "password=canary"]),
        (&generic, &["--set", "API_KEY=canary"]),
        (&generic, &["--file", "key.pem=canary"]),
        (&reconfigure, &["--secret", "password=canary"]),
        (&reconfigure, &["--set", "password=canary"]),
        (&["credential", "create", "--name", "x"], &["--secret", "password=canary"]),
        (&["login"], &["--email", "a@b.example", "--password-from", "canary"]),
        (&["login"], &["--token-from", "canary"]),
        (&["password", "change"], &["--current-from", "canary"]),
        (&["invitation", "accept"], &["--link-from", "kf_setup_canary"]),
        (&["runner", "start"], &["--token-from", "canary"]),
    ];
    for (command, options) in cases {
        let arguments = [command, options].concat();
        let outcome = world.run(&arguments);
        assert_eq!(outcome.code, 2, "{arguments:?}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("canary"), "{arguments:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{arguments:?}");
    }
    for seen in server.seen() {
        assert_eq!(seen.method, "GET");
        assert!(!format!("{seen:?}").contains("canary"));
    }
}

#[test]
fn secrets_come_from_standard_input_files_and_variables() {
    let create = format!("POST {}", in_organization("connections"));
    let server = StandIn::start(&[
        ("GET /api/v1/connection-types", 200, types()),
        (&create, 201, connection("unverified")),
    ]);
    let world = World::signed_in(&server).with("API_KEY", "from a variable");
    world.write("token", "from a file\n");
    world.write("settings.json", "{}\n");
    let outcome = world.run_with_input(
        &[
            "connection",
            "create",
            "--type",
            "generic",
            "--name",
            "Keys",
            "--secret",
            "A=env:API_KEY",
            "--secret",
            "B=@token",
            "--secret",
            "C=-",
            "--file",
            "settings.json=@settings.json",
        ],
        "from standard input\n",
    );
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(
        server.body(&create)["credential"],
        json!({
            "kind": "values",
            "fields": { "A": "from a variable", "B": "from a file", "C": "from standard input" },
            "files": { "settings.json": "e30K" },
        })
    );
    assert!(!format!("{outcome:?}").contains("from a"), "{outcome:?}");
}

#[test]
fn standard_input_serves_one_secret_only() {
    let server = StandIn::start(&[("GET /api/v1/connection-types", 200, types())]);
    let outcome = World::signed_in(&server).run_with_input(
        &[
            "connection",
            "create",
            "--type",
            "generic",
            "--name",
            "x",
            "--secret",
            "A=-",
            "--secret",
            "B=-",
        ],
        "canary",
    );
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("both read standard input"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("canary"));
}
