//! docs/reference/openapi.json is what the routes say of themselves.

use keyferry_server::http::openapi;

#[test]
fn the_reference_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/openapi.json");
    let wanted = serde_json::to_string_pretty(&openapi::document()).unwrap() + "\n";
    #[expect(clippy::disallowed_methods, reason = "tests have no settings module")]
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &wanted).unwrap();
    }
    let present = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        present == wanted,
        "docs/reference/openapi.json is stale; run: UPDATE=1 cargo test -p keyferry-server --test \
         api reference"
    );
}
