//! Which crate may know which: the table in ARCHITECTURE.md and the manifests say the same.
//!
//! Our own crates are compared both ways, so that the table neither lies nor lags. A monopoly is a
//! crate that only its owner may depend on; dependencies of tests are free but for `broker` and
//! what is below it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{steps, workspace};

const PREFIX: &str = "keyferry-";

/// For tests only, and so not in the table.
const TESTKIT: &str = "testkit";

/// One line of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wall {
    may_use: BTreeSet<String>,
    monopoly: BTreeSet<String>,
}

/// What a manifest says, with our own crates by their short names.
#[derive(Clone, Debug, Default)]
struct Manifest {
    normal: BTreeSet<String>,
    for_tests: BTreeSet<String>,
}

/// Reads the table below the heading `Walls`.
fn walls(text: &str) -> BTreeMap<String, Wall> {
    let section = text.split("\n## Walls\n").nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let set = |cell: &str| -> BTreeSet<String> {
        cell.split(',')
            .map(|word| word.trim().trim_matches('`').to_owned())
            .filter(|word| !word.is_empty() && word != "–" && word != "-")
            .collect()
    };
    section
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [name, may_use, monopoly, ..] = cells[..] else { return None };
            let wall = Wall { may_use: set(may_use), monopoly: set(monopoly) };
            Some((name.trim_matches('`').to_owned(), wall))
        })
        .collect()
}

/// Reads what `cargo metadata` says of the workspace's own packages, by short name.
fn manifests(metadata: &Value) -> BTreeMap<String, Manifest> {
    let mut found = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let mut manifest = Manifest::default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let name = dependency["name"].as_str().unwrap_or_default();
            let name = name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
            if dependency["kind"] == "dev" {
                manifest.for_tests.insert(name);
            } else {
                manifest.normal.insert(name);
            }
        }
        let name = package["name"].as_str().unwrap_or_default();
        found.insert(name.strip_prefix(PREFIX).unwrap_or(name).to_owned(), manifest);
    }
    found
}

/// Compares table and manifests; packages outside `crates/` have no line and are free.
fn violations(
    walls: &BTreeMap<String, Wall>,
    manifests: &BTreeMap<String, Manifest>,
) -> Vec<String> {
    let mut found = Vec::new();
    let ours: BTreeSet<String> = walls.keys().cloned().chain([TESTKIT.to_owned()]).collect();
    for (name, wall) in walls {
        let Some(manifest) = manifests.get(name) else {
            found.push(format!("{name}: has a line in the table and is no crate"));
            continue;
        };
        let uses: BTreeSet<String> = manifest.normal.intersection(&ours).cloned().collect();
        for used in uses.difference(&wall.may_use) {
            found.push(format!("{name}: depends on `{used}`, which the table does not allow"));
        }
        for unused in wall.may_use.difference(&uses) {
            found.push(format!("{name}: the table allows `{unused}`, which it does not use"));
        }
        let for_tests: BTreeSet<String> = manifest.for_tests.intersection(&ours).cloned().collect();
        for used in for_tests.iter().filter(|used| !is_free_for_tests(used, wall, walls)) {
            found.push(format!("{name}: its tests depend on `{used}`, which is behind a wall"));
        }
        for only in &wall.monopoly {
            if !manifest.normal.contains(only) {
                found.push(format!("{name}: has a monopoly on `{only}` and does not use it"));
            }
            for (other, manifest) in manifests {
                if other != name && walls.contains_key(other) && manifest.normal.contains(only) {
                    found.push(format!("{other}: depends on `{only}`, which is {name}'s alone"));
                }
            }
        }
    }
    found
}

/// Tests may use testkit, what their crate may use, and what those may use.
fn is_free_for_tests(used: &str, wall: &Wall, walls: &BTreeMap<String, Wall>) -> bool {
    let below = || wall.may_use.iter().filter_map(|name| walls.get(name));
    used == TESTKIT
        || wall.may_use.contains(used)
        || below().any(|wall| wall.may_use.contains(used))
}

fn architecture() -> String {
    std::fs::read_to_string(workspace::root().join("ARCHITECTURE.md")).unwrap()
}

fn metadata() -> Value {
    let command = ["metadata", "--format-version=1", "--no-deps", "--offline"];
    serde_json::from_str(&steps::output(&mut steps::cargo(command)).unwrap()).unwrap()
}

#[test]
fn the_walls_stand_where_the_table_says() {
    let walls = walls(&architecture());
    assert!(walls.len() > 10, "the table of walls was not found: {walls:?}");
    super::assert_none("walls", &violations(&walls, &manifests(&metadata())));
}

#[test]
fn the_rooms_are_the_crates_that_there_are() {
    let text = architecture();
    let rooms = text.split("\n## Rooms\n").nth(1).and_then(|text| text.split("\n## ").next());
    let rooms: BTreeSet<&str> = rooms
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let root = workspace::root();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let folders: BTreeSet<String> = packages
        .iter()
        .filter_map(|package| {
            let folder = std::path::Path::new(package["manifest_path"].as_str()?).parent()?;
            Some(folder.strip_prefix(&root).ok()?.to_str()?.to_owned())
        })
        .collect();
    assert_eq!(rooms, folders.iter().map(String::as_str).collect());
}

#[test]
fn every_crate_of_the_product_has_a_wall() {
    let walls = walls(&architecture());
    let free = [TESTKIT, "journeys", "xtask"];
    let manifests = manifests(&metadata());
    let without = manifests.keys().filter(|name| !walls.contains_key(*name));
    let without: Vec<&String> = without.filter(|name| !free.contains(&name.as_str())).collect();
    assert!(without.is_empty(), "no line in the table of walls: {without:?}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: &str = "# A\n\n## Walls\n\nText.\n\n| Crate | May use (ours) | Monopoly | Never |\n\
        | --- | --- | --- | --- |\n| domain | – | – | do IO |\n| store | domain | `sqlx` | – |\n\
        | broker | domain, store | – | – |\n| server | broker | axum | – |\n\n## Next\n\n| x | y | z |\n";

    fn package(name: &str, normal: &[&str], dev: &[&str]) -> Value {
        let entry = |name: &&str, kind: Value| json!({"name": name, "kind": kind});
        let normal = normal.iter().map(|name| entry(name, Value::Null));
        let dev = dev.iter().map(|name| entry(name, json!("dev")));
        json!({"name": name, "dependencies": normal.chain(dev).collect::<Vec<_>>()})
    }

    fn found(changed: &Value) -> Vec<String> {
        let mut packages = vec![
            package("keyferry-domain", &["serde"], &["proptest"]),
            package("keyferry-store", &["keyferry-domain", "sqlx"], &["keyferry-testkit"]),
            package("keyferry-broker", &["keyferry-domain", "keyferry-store"], &["axum"]),
            package("keyferry-server", &["keyferry-broker", "axum"], &["keyferry-store"]),
            package("keyferry-testkit", &[], &[]),
        ];
        if let Some(one) = packages.iter_mut().find(|one| one["name"] == changed["name"]) {
            *one = changed.clone();
        }
        violations(&walls(TABLE), &manifests(&json!({"packages": packages})))
    }

    #[test]
    fn walls_that_stand_are_found_standing() {
        assert_eq!(found(&Value::Null), [""; 0]);
        assert_eq!(walls(TABLE).len(), 4);
    }

    #[test]
    fn a_breach_is_found() {
        let deps = ["keyferry-domain", "keyferry-store", "sqlx"];
        let breach = found(&package("keyferry-broker", &deps, &[]));
        assert_eq!(breach, ["broker: depends on `sqlx`, which is store's alone"]);

        let breach = found(&package("keyferry-domain", &["keyferry-store"], &[]));
        assert_eq!(breach, ["domain: depends on `store`, which the table does not allow"]);

        let breach = found(&package("keyferry-domain", &["keyferry-testkit"], &[]));
        assert_eq!(breach, ["domain: depends on `testkit`, which the table does not allow"]);

        let breach = found(&package("keyferry-domain", &[], &["keyferry-store"]));
        assert_eq!(breach, ["domain: its tests depend on `store`, which is behind a wall"]);
    }

    #[test]
    fn a_table_that_lags_is_found() {
        let lag = found(&package("keyferry-broker", &["keyferry-domain"], &[]));
        assert_eq!(lag, ["broker: the table allows `store`, which it does not use"]);
        let lag = found(&package("keyferry-store", &["keyferry-domain"], &[]));
        assert_eq!(lag, ["store: has a monopoly on `sqlx` and does not use it"]);
        let mut walls = walls(TABLE);
        walls.insert("ghost".to_owned(), Wall::default());
        let packages = json!({"packages": []});
        assert!(
            violations(&walls, &manifests(&packages))
                .contains(&"ghost: has a line in the table and is no crate".to_owned())
        );
    }
}
