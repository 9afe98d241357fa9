//! The binary as people and scripts meet it: hermetic, against a stand-in of the server.
//!
//! What a real server answers is the journeys' business; here it is what goes over the wire, what
//! is printed where, and how commands end.

#![expect(clippy::unwrap_used, reason = "where a test's world breaks, the test ends")]

mod connections;
mod exec;
mod guides;
mod help;
mod helper;
mod login;
mod people;
mod pipelines;
mod reference;
mod runs;
mod secrets;
mod world;

#[test]
fn no_test_file_was_forgotten() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli");
    let main = include_str!("main.rs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
            assert!(main.contains(&format!("mod {module};")), "{name} is not in main.rs");
        }
    }
}
