//! The credential helpers against a socket that answers, refuses, talks nonsense or is not there.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread::JoinHandle;

use keyferry_delivery::socket::{Answer, Question, Refusal};
use keyferry_domain::Timestamp;
use keyferry_domain::material::Material;

use crate::world::{Outcome, World};

const GIT_QUESTION: &str = "protocol=https\nhost=git.example.com\npath=team/app.git\n\n";

/// Answers one question on a socket, and returns the question.
fn socket(world: &World, answer: Vec<u8>) -> JoinHandle<Question> {
    let listener = UnixListener::bind(world.path("socket")).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut line = Vec::new();
        BufReader::new(&stream).read_until(b'\n', &mut line).unwrap();
        (&stream).write_all(&answer).unwrap();
        Question::parse(&line).unwrap()
    })
}

fn world_with_socket() -> World {
    let world = World::new();
    let path = world.path("socket").display().to_string();
    world.with("KEYFERRY_SOCKET", &path)
}

fn helper(world: &World, name: &str) -> PathBuf {
    let path = world.path(name);
    symlink(env!("CARGO_BIN_EXE_keyferry"), &path).unwrap();
    path
}

fn password() -> Vec<u8> {
    let answer = Answer::Material {
        material: Material::Password { username: "deploy".into(), password: "hunter2".into() },
        expires_at: Timestamp::from_millis(1_767_225_600_000),
    };
    answer.render().expose().clone().into_bytes()
}

fn refusal() -> Vec<u8> {
    let refusal = Refusal {
        code: "connection_not_bound".to_owned(),
        message: "the connection `team-git` needs approval".to_owned(),
        hint: Some("ask its owner".to_owned()),
    };
    Answer::Refusal(refusal).render().expose().clone().into_bytes()
}

fn ask_git(world: &World, action: &str) -> Outcome {
    let program = helper(world, "git-credential-keyferry");
    world.run_program(&program, &[action], GIT_QUESTION)
}

#[test]
fn git_gets_what_the_socket_hands_over() {
    let world = world_with_socket();
    let asked = socket(&world, password());
    let outcome = ask_git(&world, "get");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert_eq!(outcome.stdout, "username=deploy\npassword=hunter2\n");
    assert_eq!(
        asked.join().unwrap(),
        Question::Git {
            protocol: "https".into(),
            host: "git.example.com".into(),
            path: Some("team/app.git".into()),
            username: None,
        }
    );
}

#[test]
fn a_refusal_stops_git_and_says_why() {
    let world = world_with_socket();
    let asked = socket(&world, refusal());
    let outcome = ask_git(&world, "get");
    asked.join().unwrap();
    assert_eq!(outcome.stdout, "quit=1\n");
    assert_eq!(
        outcome.stderr,
        "keyferry: the connection `team-git` needs approval\nkeyferry: hint: ask its owner\n"
    );
}

#[test]
fn git_tells_that_a_credential_was_rejected_and_stores_nothing() {
    let world = world_with_socket();
    let asked = socket(&world, Answer::Done.render().expose().clone().into_bytes());
    let program = helper(&world, "git-credential-keyferry");
    let input = "protocol=https\nhost=git.example.com\nusername=deploy\npassword=canary\n\n";
    let outcome = world.run_program(&program, &["erase"], input);
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (0, "", ""));
    let question = asked.join().unwrap();
    assert!(matches!(question, Question::GitRejected { .. }));
    assert!(!question.render().contains("canary"));
    // Nobody listens any more: storing does not even ask.
    let outcome = world.run_program(&program, &["store"], input);
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (0, "", ""));
}

#[test]
fn docker_gets_what_the_socket_hands_over_and_hears_refusals() {
    let world = world_with_socket();
    let asked = socket(&world, password());
    let program = helper(&world, "docker-credential-keyferry");
    let outcome = world.run_program(&program, &["get"], "registry.example.com");
    asked.join().unwrap();
    assert_eq!(outcome.code, 0);
    let told: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(told["ServerURL"], "registry.example.com");
    assert_eq!(
        (told["Username"].as_str(), told["Secret"].as_str()),
        (Some("deploy"), Some("hunter2"))
    );

    std::fs::remove_file(world.path("socket")).unwrap();
    let asked = socket(&world, refusal());
    let outcome = world.run_program(&program, &["get"], "registry.example.com");
    asked.join().unwrap();
    assert_eq!(outcome.code, 1);
    assert!(outcome.stdout.contains("needs approval") && outcome.stderr.contains("needs approval"));
}

#[test]
fn the_usual_command_line_answers_as_the_helpers_do() {
    let world = world_with_socket();
    let asked = socket(&world, password());
    let outcome = world.run_with_input(&["helper", "git", "get"], GIT_QUESTION);
    asked.join().unwrap();
    assert_eq!(outcome.stdout, "username=deploy\npassword=hunter2\n");
    std::fs::remove_file(world.path("socket")).unwrap();
    let asked = socket(&world, password());
    // An option in front takes the long way through the whole command line.
    let outcome = world.run_with_input(&["--no-input", "helper", "git", "get"], GIT_QUESTION);
    asked.join().unwrap();
    assert_eq!(outcome.stdout, "username=deploy\npassword=hunter2\n");
}

#[test]
fn a_socket_that_is_gone_or_talks_nonsense_is_a_refusal() {
    let world = world_with_socket();
    let outcome = ask_git(&world, "get");
    assert_eq!(outcome.stdout, "quit=1\n");
    assert!(outcome.stderr.contains("failed to ask the job's socket"), "{}", outcome.stderr);
    for answer in [&b""[..], b"\n", b"{}\n", b"{\"kind\":\"material\",\"canary\":1}\n", b"\xff\n"] {
        let world = world_with_socket();
        let asked = socket(&world, answer.to_vec());
        let outcome = ask_git(&world, "get");
        asked.join().unwrap();
        assert_eq!(outcome.stdout, "quit=1\n", "{answer:?}");
        assert!(!outcome.stderr.contains("canary"), "{}", outcome.stderr);
    }
}

#[test]
fn a_password_with_a_line_break_is_refused_and_not_cut() {
    let world = world_with_socket();
    let answer = Answer::Material {
        material: Material::Password { username: "u".into(), password: "canary\nhost=evil".into() },
        expires_at: Timestamp::from_millis(1),
    };
    let asked = socket(&world, answer.render().expose().clone().into_bytes());
    let outcome = ask_git(&world, "get");
    asked.join().unwrap();
    assert_eq!(outcome.stdout, "quit=1\n");
    assert!(!outcome.stderr.contains("canary"));
}
