//! Connection types against real servers, and against stand-ins that misbehave.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod contract;
mod generic;
mod git;
mod gitea_leases;
mod gitea_repositories;
mod gitea_stand_in;
mod registry;
mod stand_in;
mod world;

/// A file that is not in the list above is a test that never runs.
#[test]
fn no_test_file_is_forgotten() {
    let main = include_str!("main.rs");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/providers");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".rs").filter(|name| *name != "main") else { continue };
        assert!(main.contains(&format!("mod {name};")), "{name}.rs is not in main.rs");
    }
}
