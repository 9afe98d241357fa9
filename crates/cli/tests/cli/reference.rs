//! docs/reference/cli.md is what the commands say of themselves.

#[test]
fn the_reference_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/cli.md");
    let wanted = keyferry_cli::reference::reference();
    #[expect(clippy::disallowed_methods, reason = "tests have no settings module")]
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &wanted).unwrap();
    }
    let present = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        present == wanted,
        "docs/reference/cli.md is stale; run: UPDATE=1 cargo test -p keyferry-cli reference"
    );
}

#[test]
fn the_reference_names_every_variable_that_is_read() {
    let reference = keyferry_cli::reference::reference();
    for (name, _) in keyferry_cli::environment::VARIABLES {
        assert!(reference.contains(&format!("| `{name}` |")), "{name}");
    }
}
