//! The type `git` and the gate against real servers, and against servers that misbehave.
//!
//! Real Git servers come from `testkit`; a missing program is a loud skip, and a failure in CI.
//! Rules that need no server are tested beside the code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod git_over_http;
mod git_over_ssh;
mod hostile_servers;
mod redirects;
mod stand_in;
mod world;

/// A file that is not in the list above is a test that never runs.
#[test]
fn no_test_file_is_forgotten() {
    let main = include_str!("main.rs");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/git");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".rs").filter(|name| *name != "main") else { continue };
        assert!(main.contains(&format!("mod {name};")), "{name}.rs is not in main.rs");
    }
}
