//! The reference of the command line, written from the commands themselves.
//!
//! docs/reference/cli.md is this text; a test fails when it is stale.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use crate::arguments::Cli;
use crate::environment::VARIABLES;
use crate::error::EXIT_CODES;

/// Returns docs/reference/cli.md.
pub fn reference() -> String {
    let mut root = Cli::command();
    root.build();
    let mut out = String::from(
        "# `keyferry`: command line\n\n\
         <!-- Written from the commands by `keyferry_cli::reference`; do not edit by hand. -->\n\n",
    );
    out.push_str(&about(&root));
    out.push_str("\n## Global options\n\nEvery command takes them.\n\n");
    for option in root.get_arguments().filter(|one| one.is_global_set()) {
        out.push_str(&argument(option));
    }
    out.push_str("\n## Environment\n\n| Variable | Meaning |\n| --- | --- |\n");
    for (name, meaning) in VARIABLES {
        let _ = writeln!(out, "| `{name}` | {meaning} |");
    }
    out.push_str(
        "\nA flag takes precedence over the environment, and the environment over the \
         configuration file.\n\n## Configuration file\n\n\
         `~/.config/keyferry/config.toml` is written by `keyferry login`, with mode 0600. It may \
         set `server`, `organization`,\n`ca_file` and `token`. A file with a token that others may \
         read is refused. The token is sent to no other server than\n`server`.\n\n\
         ## Secrets\n\n\
         A secret is never written on the command line, where other users and the shell's history \
         see it. Options that need one\ntake where it is: `@PATH` for a file, `-` for standard \
         input, `env:NAME` for a variable. With a person at the terminal,\nwhat is missing is asked \
         for.\n\n## Exit codes\n\n| Code | Meaning |\n| --- | --- |\n",
    );
    for (code, meaning) in EXIT_CODES {
        let _ = writeln!(out, "| {code} | {meaning} |");
    }
    out.push_str("\n`keyferry exec` ends with the exit code of its command.\n\n## Commands\n");
    for command in root.get_subcommands() {
        describe(command, "keyferry", &mut out);
    }
    out
}

fn describe(command: &Command, parent: &str, out: &mut String) {
    if command.get_name() == "help" {
        return;
    }
    let name = format!("{parent} {}", command.get_name());
    let _ = write!(out, "\n### `{name}`\n\n{}", about(command));
    let has_verbs = command.has_subcommands();
    if has_verbs {
        for verb in command.get_subcommands() {
            describe(verb, &name, out);
        }
        return;
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let _ = write!(out, "\n```text\n{usage}\n```\n\n");
    let own = || command.get_arguments().filter(|one| !one.is_global_set());
    for one in own().filter(|one| one.is_positional()) {
        out.push_str(&argument(one));
    }
    for one in own().filter(|one| !one.is_positional() && one.get_id() != "help") {
        out.push_str(&argument(one));
    }
    if let Some(after) = command.get_after_help() {
        let after = after.to_string();
        let examples = after.strip_prefix("Examples:\n").unwrap_or(&after);
        let lines: Vec<&str> =
            examples.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
        let _ = write!(out, "\n```sh\n{}\n```\n", lines.join("\n"));
    }
}

fn about(command: &Command) -> String {
    let about = command.get_long_about().or_else(|| command.get_about());
    about.map(|about| format!("{about}\n")).unwrap_or_default()
}

/// Returns an option or argument as a line of a list.
fn argument(one: &Arg) -> String {
    let values = one
        .get_value_names()
        .filter(|_| one.get_action().takes_values())
        .map(|names| names.join(" "))
        .unwrap_or_default();
    let name = match (one.get_long(), values.as_str()) {
        (Some(long), "") => format!("--{long}"),
        (Some(long), values) => format!("--{long} {values}"),
        (None, values) => values.to_owned(),
    };
    let short = one.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let help = one.get_long_help().or_else(|| one.get_help());
    let mut text = help.map(ToString::to_string).unwrap_or_default().replace('\n', " ");
    let choices: Vec<String> = one
        .get_possible_values()
        .iter()
        .filter(|_| one.get_action().takes_values())
        .map(|choice| format!("`{}`", choice.get_name()))
        .collect();
    if !choices.is_empty() {
        let _ = write!(text, ": {}", choices.join(", "));
    }
    let default: Vec<String> = one
        .get_default_values()
        .iter()
        .filter(|_| one.get_action().takes_values())
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    if !default.is_empty() {
        let _ = write!(text, " [default: {}]", default.join(", "));
    }
    format!("- {short}`{name}`: {text}\n")
}
