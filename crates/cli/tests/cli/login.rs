//! Signing in, what is kept of it, and to whom the token goes.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use keyferry_domain::Random;
use keyferry_domain::token::{Token, TokenKind};
use serde_json::json;

use crate::world::{StandIn, USER, World, problem, user};

fn session() -> serde_json::Value {
    json!({
        "token": "kf_sess_canary", "expires_at": "2026-12-31T00:00:00.000Z", "user": user(),
    })
}

#[test]
fn a_login_is_kept_for_its_owner_only_and_used_afterwards() {
    let server = StandIn::start(&[
        ("POST /api/v1/sessions", 201, session()),
        ("GET /api/v1/user", 200, user()),
    ]);
    let world = World::new();
    world.write("password", "correct horse battery\n");
    let outcome = world.run(&[
        "login",
        "--server",
        &server.url,
        "--email",
        "jane@example.com",
        "--password-from",
        "@password",
    ]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(!format!("{outcome:?}").contains("canary"));
    let body = server.body("POST /api/v1/sessions");
    assert_eq!(body["password"], "correct horse battery");
    let config = world.path(".config/keyferry/config.toml");
    assert_eq!(std::fs::metadata(&config).unwrap().mode() & 0o777, 0o600);

    let outcome = world.run(&["whoami", "--output", "json"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let shown: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(shown["id"], USER);
    assert_eq!(server.seen().last().unwrap().token.as_deref(), Some("kf_sess_canary"));
}

#[test]
fn the_stored_token_goes_to_no_other_server() {
    let other = StandIn::start(&[("GET /api/v1/user", 200, user())]);
    let world = World::new();
    let path = world.write(
        ".config/keyferry/config.toml",
        "server = \"https://keyferry.example.com\"\ntoken = \"kf_sess_canary\"\n",
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let outcome = world.run(&["whoami", "--server", &other.url]);
    assert_eq!(outcome.code, 3);
    assert!(outcome.stderr.contains("another server"), "{}", outcome.stderr);
    assert!(other.seen().is_empty());
}

#[test]
fn a_configuration_that_others_may_read_is_refused() {
    let world = World::new();
    let path = world.write(".config/keyferry/config.toml", "token = \"kf_sess_canary\"\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let outcome = world.run(&["whoami"]);
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (
            2,
            "error: `~/.config/keyferry/config.toml` holds a token and others may read it (mode \
             0640)\n\nhint: run: chmod 600 '~/.config/keyferry/config.toml'\nhint: if others use \
             this machine, revoke the token and log in again\n"
        )
    );
}

#[test]
fn without_a_login_commands_say_how_to_sign_in() {
    let outcome = World::new().run(&["connection", "list"]);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()),
        (
            3,
            "",
            "error: you are not logged in\n\nhint: run `keyferry login`, or set KEYFERRY_TOKEN\n"
        )
    );
}

#[test]
fn a_wrong_password_is_the_servers_word_and_keeps_nothing() {
    let refused = problem(401, "unauthenticated", "e-mail address or password is wrong");
    let server = StandIn::start(&[("POST /api/v1/sessions", 401, refused)]);
    let world = World::new();
    let arguments = ["login", "--email", "jane@example.com", "--password-from", "-"];
    let outcome =
        world.with("KEYFERRY_URL", &server.url).run_with_input(&arguments, "canary-password");
    assert_eq!(outcome.code, 3);
    assert!(outcome.stderr.starts_with("error: e-mail address or password is wrong\n"));
    assert!(!outcome.stderr.contains("canary"));
}

#[test]
fn a_server_that_is_away_or_something_else_is_told_apart() {
    let strange = StandIn::start(&[("GET /api/v1/user", 200, json!("hello"))]);
    let world = World::new().with("KEYFERRY_TOKEN", "kf_pat_x");
    let outcome = world.run(&["whoami", "--server", &strange.url]);
    assert_eq!(outcome.code, 8);
    assert!(outcome.stderr.contains("failed to understand the answer"), "{}", outcome.stderr);
    // Port 1 of the loopback address: nobody listens there.
    let outcome = world.run(&["whoami", "--server", "http://127.0.0.1:1"]);
    assert_eq!(outcome.code, 8);
    assert!(outcome.stderr.contains("failed to reach the server at http://127.0.0.1:1/"));
    let outcome = world.run(&["whoami", "--server", "http://jane:canary@127.0.0.1:1"]);
    assert_eq!(outcome.code, 2);
    assert!(!outcome.stderr.contains("canary"));
}

#[test]
fn logout_ends_the_session_and_forgets_the_token() {
    struct Sevens;
    impl Random for Sevens {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }
    let session = Token::generate(TokenKind::Session, &Sevens).text().expose().clone();
    let server = StandIn::start(&[("DELETE /api/v1/sessions/current", 204, json!(null))]);
    let world = World::new();
    let path = world.write(
        ".config/keyferry/config.toml",
        &format!("server = \"{}\"\ntoken = \"{session}\"\n", server.url),
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let outcome = world.run(&["logout"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(!kept.contains("kf_sess"), "{kept}");
    assert!(kept.contains(&server.url));
    let seen = server.seen();
    assert_eq!((seen.len(), seen[0].token.as_ref()), (1, Some(&session)));
}

#[test]
fn setup_reads_the_link_and_never_from_the_command_line() {
    let server = StandIn::start(&[("POST /api/v1/setup", 201, session())]);
    let world = World::new().with("PASSWORD", "correct horse battery");
    world.write("link", &format!("{}/setup#token=kf_setup_Abc123\n", server.url));
    let arguments = |link: &'static str| {
        [
            "setup",
            "--link-from",
            link,
            "--email",
            "jane@example.com",
            "--name",
            "Jane",
            "--organization-name",
            "Example",
            "--password-from",
            "env:PASSWORD",
        ]
    };
    let outcome = world.run(&arguments("http://127.0.0.1/setup#token=kf_setup_canary"));
    assert_eq!(outcome.code, 2);
    assert!(!outcome.stderr.contains("canary"));
    let outcome = world.run(&arguments("@link"));
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let body = server.body("POST /api/v1/setup");
    assert_eq!(body["setup_token"], "kf_setup_Abc123");
    assert_eq!(body["password"], "correct horse battery");
}

#[test]
fn with_several_organizations_one_has_to_be_chosen() {
    let mut user = user();
    let more = json!({
        "organization_id": "org_01arz3ndektsv4rrffq69g5faw", "organization_name": "Other",
        "role": "member",
    });
    user["memberships"].as_array_mut().unwrap().push(more);
    let server = StandIn::start(&[("GET /api/v1/user", 200, user)]);
    let world = World::new().with("KEYFERRY_URL", &server.url).with("KEYFERRY_TOKEN", "kf_pat_x");
    let outcome = world.run(&["connection", "list"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("Other") && outcome.stderr.contains("--organization"));
    let outcome = world.run(&["connection", "list", "--organization", "Third"]);
    assert_eq!(outcome.code, 5);
}
