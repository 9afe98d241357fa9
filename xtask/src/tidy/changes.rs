//! The broker changes nothing without its audit event: it writes within a change, and a change is
//! committed in one place, together with the events that tell of it.
//!
//! Which functions of the store only read is found in the store's own text. Whatever else takes the
//! store itself, outside of a change, is on a list that says why nobody has to be told of it.

use std::collections::BTreeSet;

use super::sources::{self, Source};

const STORE: &str = "crates/store/src/";
const BROKER: &str = "crates/broker/src/";

/// Where changes are committed, with their events.
const COMMITS: &str = "crates/broker/src/audit.rs";

/// By these a function of the store writes.
const WAYS_TO_WRITE: &[&str] = &[
    ".change(",
    ".execute(",
    ".insert(",
    ".insert_all(",
    ".save(",
    ".save_where(",
    ".together(",
    ".update_returning(",
];

/// What may be done with the store itself.
const HARMLESS: &[&str] = &[".begin()", ".close()", ".is_embedded()", ".ping()"];

/// Calls outside of a change that do not only read: the file, the call, why there is no event.
const WITHOUT_EVENT: &[(&str, &str, &str)] = &[
    ("authentication.rs", "sessions::touch", "when a session was last used"),
    ("authentication.rs", "tokens::touch", "when a token was last used"),
    ("connections/checks.rs", "connections::claim_due_checks", "who tries a connection"),
    ("connections/checks.rs", "connections::schedule_checks", "when a connection is tried"),
    ("credentials.rs", "connections_on", "only reads"),
    ("idempotency_keys.rs", "idempotency_keys::complete", "what a request was answered"),
    ("idempotency_keys.rs", "idempotency_keys::release", "a request that did nothing"),
    ("idempotency_keys.rs", "idempotency_keys::reserve", "a request that is under way"),
    ("jobs/claim.rs", "runners::touch", "a sign of life of a runner"),
    ("jobs/log.rs", "run_logs::append", "the log of a job"),
    ("jobs/report.rs", "jobs::heartbeat", "a sign of life of a job"),
    ("jobs/report.rs", "steps::update", "what a job is doing; its end is an event"),
    ("leases/issue.rs", "connections::touch", "when a connection was last used"),
    ("leases/issue.rs", "leases::update", "handed over, as the event of its issue has told"),
    ("leases/revoke.rs", "leases::claim_due", "who takes back what has ended"),
    ("leases/revoke.rs", "save_lease", "when that is tried again"),
    ("sessions.rs", "users::update", "the same password, hashed anew"),
    ("sweep.rs", "idempotency_keys::delete_expired", "answers that are a day old"),
];

/// The functions of a file of the store that only read, as `module::function`.
fn reads(source: &Source) -> BTreeSet<String> {
    let module = source.name().trim_end_matches(".rs");
    let text = source.product_text();
    text.split("\npub async fn ")
        .skip(1)
        .filter_map(|function| {
            let body = function.split("\n}\n").next()?;
            let name = body.split(['(', '<']).next()?;
            let is_read = !WAYS_TO_WRITE.iter().any(|way| body.contains(way));
            is_read.then(|| format!("{module}::{name}"))
        })
        .collect()
}

/// What a call is of: `leases::find` at the end of `…keyferry_store::leases::find(&`.
fn callee(before: &str) -> Option<&str> {
    let path = before.strip_suffix("(&")?;
    let is_of_path = |one: char| one.is_ascii_alphanumeric() || one == '_' || one == ':';
    let start = path.rfind(|one| !is_of_path(one)).map_or(0, |at| at + 1);
    let path = &path[start..];
    let parts: Vec<usize> = path.match_indices("::").map(|(at, _)| at).collect();
    Some(match parts[..] {
        [.., module, _] => &path[module + 2..],
        _ => path,
    })
}

/// The calls in a file of the broker that take the store itself and may write, and what else is
/// done to the store that is not harmless.
fn calls(source: &Source, reads: &BTreeSet<String>) -> Vec<String> {
    let words: Vec<&str> = source.product_text().split_whitespace().collect();
    let text = words.join(" ").replace("( ", "(").replace(" .", ".");
    let mut found = Vec::new();
    for (at, word) in text.match_indices("self.store") {
        let after = &text[at + word.len()..];
        let is_other = after.starts_with(|one: char| one.is_ascii_alphanumeric() || one == '_');
        if is_other || HARMLESS.iter().any(|call| after.starts_with(call)) {
            continue;
        }
        match callee(&text[..at]) {
            Some(call) if reads.contains(call) => {}
            Some(call) => found.push(call.to_owned()),
            None => found.push("self.store".to_owned()),
        }
    }
    found
}

fn violations(sources: &[Source], without_event: &[(&str, &str, &str)]) -> Vec<String> {
    let of =
        |folder: &'static str| sources.iter().filter(move |source| source.path.starts_with(folder));
    let reads: BTreeSet<String> = of(STORE).flat_map(reads).collect();
    let mut found = Vec::new();
    let mut needed = BTreeSet::new();
    for source in of(BROKER) {
        let file = &source.path[BROKER.len()..];
        for call in calls(source, &reads) {
            let known = |(of, known, _): &&(&str, &str, &str)| *of == file && *known == call;
            match without_event.iter().find(known) {
                Some((_, call, _)) => drop(needed.insert((file, *call))),
                None => found.push(format!(
                    "{}: `{call}` writes outside of a change; begin one, and commit it with its event",
                    source.path
                )),
            }
        }
        let commits = source.product_text().matches(".commit()").count();
        if commits > 0 && source.path != COMMITS {
            found.push(format!("{}: commits a change; `Broker::commit` does that", source.path));
        }
    }
    found.extend(
        without_event
            .iter()
            .filter(|(file, call, _)| !needed.contains(&(*file, *call)))
            .map(|(file, call, _)| format!("{file}: `{call}` is gone; take it off the list")),
    );
    found
}

#[test]
fn the_broker_changes_nothing_without_its_event() {
    super::assert_none("changes and their events", &violations(&sources::rust(), WITHOUT_EVENT));
}

#[test]
fn a_write_outside_of_a_change_is_found() {
    let store = Source::new(
        "crates/store/src/leases.rs",
        "\npub async fn find(on: A) -> B {\n    on.select_one()\n}\n\
         \npub async fn update(on: A) -> B {\n    on.into().save(record)\n}\n\
         \npub async fn end<A>(on: A) -> B {\n    on.update_returning()\n}\n",
    );
    let check = |text: &str, list: &[(&str, &str, &str)]| {
        let broker = Source::new("crates/broker/src/leases/end.rs", text);
        violations(&[Source::new(&store.path, &store.text), broker], list)
    };
    let fine = "leases::find(&self.store, id); self.store.begin(); leases::end(&mut change); \
                keyferry_store::leases::find(\n    &self.store,\n)";
    assert_eq!(check(fine, &[]), [""; 0]);
    for text in [
        "leases::update(&self.store, &record)",
        "keyferry_store::leases::end(\n    &self.store,\n)",
        "helper(&self.store)",
        "if leases::end(&self.store)",
        "let store = self\n    .store\n    .clone();",
        "change.commit().await",
    ] {
        assert_eq!(check(text, &[]).len(), 1, "{text}");
    }
    let listed = [("leases/end.rs", "leases::update", "a reason")];
    assert_eq!(check("leases::update(&self.store)", &listed), [""; 0]);
    assert_eq!(check("", &listed).len(), 1, "gone");
}
