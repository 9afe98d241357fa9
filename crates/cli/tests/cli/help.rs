//! Help that teaches, and mistakes on the command line.

use crate::world::World;

#[test]
fn the_help_of_the_whole_says_where_to_start() {
    let outcome = World::new().run(&["--help"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    insta::assert_snapshot!("help", outcome.stdout);
}

#[test]
fn the_help_of_a_command_has_examples_and_how_secrets_are_given() {
    let outcome = World::new().run(&["connection", "create", "--help"]);
    assert_eq!(outcome.code, 0);
    insta::assert_snapshot!("help_connection_create", outcome.stdout);
}

#[test]
fn every_command_has_help() {
    fn walk(world: &World, command: &clap::Command, path: &[&str]) -> usize {
        let mut count = 0;
        for one in command.get_subcommands() {
            let mut arguments = path.to_vec();
            arguments.push(one.get_name());
            count += 1 + walk(world, one, &arguments);
            arguments.push("--help");
            let outcome = world.run(&arguments);
            assert_eq!(outcome.code, 0, "{arguments:?}: {}", outcome.stderr);
            assert!(one.get_about().is_some(), "{arguments:?} says nothing about itself");
        }
        count
    }
    use clap::CommandFactory as _;
    let root = keyferry_cli::arguments::Cli::command();
    assert!(walk(&World::new(), &root, &[]) > 60);
}

#[test]
fn wrong_command_lines_end_with_2_and_keep_standard_output_empty() {
    for arguments in [
        &["conection", "list"][..],
        &["connection", "get"],
        &["connection", "get", "Not An Id"],
        &["connection", "list", "--health", "fine"],
        &["connection", "list", "--limit", "0"],
        &["lease", "get", "run_01arz3ndektsv4rrffq69g5fav"],
        &["audit", "list", "--since", "yesterday"],
        &["exec", "-c", "team-git"],
        &["exec", "--", "true"],
        &["login", "--password", "x"],
        &["connection", "list", "--output", "yaml"],
    ] {
        let outcome = World::new().run(arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(outcome.stderr.starts_with("error: "), "{arguments:?}: {}", outcome.stderr);
    }
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let world = World::new();
    let script = format!("{} completions zsh | head -n 1", env!("CARGO_BIN_EXE_keyferry"));
    let script = format!("set -o pipefail; {script}");
    let outcome = world.run_program(std::path::Path::new("/bin/bash"), &["-c", &script], "");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert_eq!(outcome.stdout, "#compdef keyferry\n");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let outcome = World::new().run(&["completions", shell]);
        assert_eq!(outcome.code, 0);
        assert!(outcome.stdout.contains("reconfigure"), "{shell}");
    }
}
