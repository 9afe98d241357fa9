//! A secret that is planted at the start of a test and hunted at its end.
//!
//! Searched as it is and in the forms that software turns it into: base64 (at each alignment, so
//! inside `user:password` too), URL-encoded, JSON-escaped, hexadecimal. Not found by it: what was
//! compressed, encrypted or hashed, which is no leak or another test's business.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::peers::postgres::Postgres;

/// What browsers leave as it is in a user name or password of a URL, roughly; less is encoded.
const URL_LENIENT: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'/').add(b'%').add(b'\\');

/// What every client leaves as it is (RFC 3986, unreserved).
const URL_STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A unique secret and the forms to search it in.
#[derive(Clone)]
pub struct Canary {
    value: String,
    forms: BTreeMap<Vec<u8>, &'static str>,
}

/// Where a canary was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The file, process or text.
    pub place: String,
    /// In which form.
    pub form: &'static str,
}

impl Canary {
    /// Makes a secret of letters, digits and hyphens, with `label` in it.
    pub fn new(label: &str) -> Result<Self> {
        Ok(Self::from_value(format!("canary-{label}-{}", random_hex()?)))
    }

    /// Makes a secret with the characters that are escaped by URLs, JSON and shells.
    pub fn awkward(label: &str) -> Result<Self> {
        Ok(Self::from_value(format!("canary-{label}-{} \"/+%&=\\'é", random_hex()?)))
    }

    /// Hunts `value`, which must be long enough to be found by accident nowhere.
    ///
    /// # Panics
    ///
    /// When it is shorter than 12 bytes.
    pub fn from_value(value: impl Into<String>) -> Self {
        let value = value.into();
        assert!(value.len() >= 12, "a canary this short is found by accident");
        let bytes = value.as_bytes();
        let hex = hexadecimal(bytes);
        let mut forms = BTreeMap::new();
        for alignment in 0..3 {
            forms.insert(base64_core(bytes, alignment, &URL_SAFE), "base64 (URL alphabet)");
            forms.insert(base64_core(bytes, alignment, &STANDARD), "base64");
        }
        forms.insert(hex.to_uppercase().into_bytes(), "hexadecimal");
        forms.insert(hex.into_bytes(), "hexadecimal");
        for set in [URL_LENIENT, URL_STRICT, NON_ALPHANUMERIC] {
            let encoded = utf8_percent_encode(&value, set).to_string();
            forms.insert(encoded.replace("%20", "+").into_bytes(), "form-encoded");
            forms.insert(encoded.into_bytes(), "URL-encoded");
        }
        let json = serde_json::Value::from(value.as_str()).to_string();
        forms.insert(json.trim_matches('"').as_bytes().to_vec(), "JSON-escaped");
        // Last, so that a value which needs no escaping is reported as what it is.
        forms.insert(bytes.to_vec(), "as it is");
        Self { value, forms }
    }

    /// Returns the secret, to be planted.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns in which form the secret is in `bytes`, if it is.
    pub fn find_in(&self, bytes: &[u8]) -> Option<&'static str> {
        let mut starts = [false; 256];
        for form in self.forms.keys() {
            if let Some(first) = form.first() {
                starts[usize::from(*first)] = true;
            }
        }
        (0..bytes.len()).filter(|at| starts[usize::from(bytes[*at])]).find_map(|at| {
            self.forms.iter().find(|(form, _)| bytes[at..].starts_with(form)).map(|(_, name)| *name)
        })
    }

    /// Fails the test when the secret is in `bytes`, which the test calls `place`.
    ///
    /// # Panics
    ///
    /// When it is there.
    #[track_caller]
    pub fn assert_absent_in(&self, place: &str, bytes: impl AsRef<[u8]>) {
        if let Some(form) = self.find_in(bytes.as_ref()) {
            panic!("a secret is in {place}, {form}");
        }
    }

    /// Returns where below `folder` the secret is, in names and contents of files.
    pub fn find_in_files(&self, folder: &Path) -> Result<Vec<Sighting>> {
        let mut sightings = Vec::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).context(folder.display().to_string()),
            };
            for entry in entries {
                let entry = entry?;
                let path = entry.path();
                let place = path.display().to_string();
                if let Some(form) = self.find_in(place.as_bytes()) {
                    sightings.push(Sighting { place: "a file's name".to_owned(), form });
                }
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file()
                    && let Some(bytes) = read_if_there(&path)?
                    && let Some(form) = self.find_in(&bytes)
                {
                    sightings.push(Sighting { place, form });
                }
            }
        }
        Ok(sightings)
    }

    /// Fails the test when the secret is in a file below `folder`.
    ///
    /// # Panics
    ///
    /// When it is there, or a file cannot be read.
    #[track_caller]
    pub fn assert_absent_in_files(&self, folder: &Path) {
        match self.find_in_files(folder) {
            Ok(sightings) => assert!(sightings.is_empty(), "a secret is in files: {sightings:?}"),
            Err(error) => panic!("files that cannot be searched: {error:#}"),
        }
    }

    /// Fails the test when the secret is in the database, in the whole of its dump.
    ///
    /// # Panics
    ///
    /// When it is there, or the database cannot be dumped.
    #[track_caller]
    pub fn assert_absent_in_database(&self, url: &str) {
        match Postgres::dump(url) {
            Ok(dump) => self.assert_absent_in("the database", dump),
            Err(error) => panic!("a database that cannot be dumped: {error:#}"),
        }
    }

    /// Returns which processes have the secret in their arguments or environment, now.
    pub fn find_in_processes(&self) -> Vec<Sighting> {
        let mut sightings = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(process) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else {
                continue;
            };
            for part in ["cmdline", "environ"] {
                // Processes end meanwhile, and those of other users may not be read.
                let Ok(bytes) = std::fs::read(entry.path().join(part)) else { continue };
                if let Some(form) = self.find_in(&bytes) {
                    let command = std::fs::read(entry.path().join("comm")).unwrap_or_default();
                    let command = String::from_utf8_lossy(&command);
                    let place = format!("{part} of {process} ({})", command.trim());
                    sightings.push(Sighting { place, form });
                }
            }
        }
        sightings
    }

    /// Fails the test when a process has the secret in its arguments or environment now.
    ///
    /// # Panics
    ///
    /// When it is there.
    #[track_caller]
    pub fn assert_absent_in_processes(&self) {
        let sightings = self.find_in_processes();
        assert!(sightings.is_empty(), "a secret is in the process list: {sightings:?}");
    }

    /// Looks at the process list again and again until [`ProcessWatch::finish`], since what is in
    /// it is soon gone.
    pub fn watch_processes(&self) -> ProcessWatch {
        let watch = Arc::new(Watched::default());
        let (canary, watched) = (self.clone(), Arc::clone(&watch));
        let thread = std::thread::spawn(move || {
            while !watched.is_over.load(Ordering::Relaxed) {
                let found = canary.find_in_processes();
                watched.sightings.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        ProcessWatch { watch, thread: Some(thread) }
    }
}

#[derive(Default)]
struct Watched {
    is_over: AtomicBool,
    sightings: Mutex<Vec<Sighting>>,
}

/// A running look at the process list.
pub struct ProcessWatch {
    watch: Arc<Watched>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ProcessWatch {
    /// Returns what it has seen so far.
    pub fn seen(&self) -> Vec<Sighting> {
        self.watch.sightings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the watch and returns what it saw.
    ///
    /// # Panics
    ///
    /// When the watch itself broke down.
    pub fn finish(mut self) -> Vec<Sighting> {
        self.watch.is_over.store(true, Ordering::Relaxed);
        // A watch that broke down has seen nothing, which must not pass for a clean list.
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))), "the watch over the process list broke down");
        self.seen()
    }
}

impl Drop for ProcessWatch {
    fn drop(&mut self) {
        self.watch.is_over.store(true, Ordering::Relaxed);
    }
}

/// The characters of a base64 text that stand for `bytes` alone, whatever is around them, when
/// `alignment` bytes of a group of three come before.
fn base64_core(bytes: &[u8], alignment: usize, alphabet: &impl base64::Engine) -> Vec<u8> {
    let mut padded = vec![0; alignment];
    padded.extend(bytes);
    let text = alphabet.encode(&padded).into_bytes();
    let first = (alignment * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    text[first..last].to_vec()
}

fn read_if_there(path: &PathBuf) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn random_hex() -> Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hexadecimal(&bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;
    use crate::Scratch;
    use crate::children::Start;

    #[test]
    fn each_form_is_found_wherever_it_stands() {
        let canary = Canary::awkward("forms").unwrap();
        let value = canary.value();
        for lead in ["", "a", "ab", "abc", "user:"] {
            let text = format!("{lead}{value}tail");
            let texts = [
                (text.clone().into_bytes(), "as it is"),
                (STANDARD.encode(&text).into_bytes(), "base64"),
                (URL_SAFE.encode(&text).into_bytes(), "base64 (URL alphabet)"),
                (serde_json::json!({ "a": text }).to_string().into_bytes(), "JSON-escaped"),
                (utf8_percent_encode(&text, URL_STRICT).to_string().into(), "URL-encoded"),
                (hexadecimal(text.as_bytes()).into_bytes(), "hex"),
                (hexadecimal(text.as_bytes()).to_uppercase().into_bytes(), "HEX"),
            ];
            for (bytes, form) in texts {
                assert!(canary.find_in(&bytes).is_some(), "{form} after `{lead}`");
            }
        }
    }

    #[test]
    fn what_is_not_the_secret_is_not_found() {
        let (canary, other) = (Canary::new("one").unwrap(), Canary::new("two").unwrap());
        assert_ne!(canary.value(), other.value());
        assert_eq!(canary.find_in(other.value().as_bytes()), None);
        assert_eq!(canary.find_in(STANDARD.encode(other.value()).as_bytes()), None);
        let value = canary.value();
        assert_eq!(canary.find_in(&value.as_bytes()[..value.len() - 1]), None);
        assert_eq!(canary.find_in(b""), None);
    }

    #[test]
    #[should_panic(expected = "a secret is in the log, as it is")]
    fn a_secret_in_a_log_fails_the_test() {
        let canary = Canary::new("log").unwrap();
        canary.assert_absent_in("the log", format!("password={}", canary.value()));
    }

    #[test]
    #[should_panic(expected = "found by accident")]
    fn a_short_canary_is_refused() {
        Canary::from_value("hunter2");
    }

    #[test]
    fn a_secret_in_a_file_is_found_and_its_absence_is_seen() {
        let scratch = Scratch::new().unwrap();
        let canary = Canary::new("file").unwrap();
        scratch.folder("a/b").unwrap();
        scratch.write("a/b/clean", "nothing", 0o644).unwrap();
        canary.assert_absent_in_files(scratch.path());
        scratch.write("a/b/c", STANDARD.encode(format!("ci:{}", canary.value())), 0o600).unwrap();
        let sightings = canary.find_in_files(scratch.path()).unwrap();
        assert_eq!(sightings.len(), 1, "{sightings:?}");
        assert!(sightings[0].place.ends_with("a/b/c"));
    }

    #[test]
    fn a_secret_in_arguments_or_environment_is_seen() {
        let scratch = Scratch::new().unwrap();
        let canary = Canary::new("process").unwrap();
        canary.assert_absent_in_processes();
        let watch = canary.watch_processes();
        let child = Start::new("/bin/sh", scratch.path(), "log")
            .args(["-c", "sleep 600", canary.value()])
            .spawn()
            .unwrap();
        crate::wait_until("sighting", Duration::from_secs(10), || {
            Ok((!watch.seen().is_empty()).then_some(()))
        })
        .unwrap();
        drop(child);
        let seen = watch.finish();
        assert!(seen.iter().any(|sighting| sighting.place.starts_with("cmdline")), "{seen:?}");

        let child = Start::new("/bin/sleep", scratch.path(), "log")
            .args(["600"])
            .env("PASSWORD", canary.value())
            .spawn()
            .unwrap();
        crate::wait_until("sighting", Duration::from_secs(10), || {
            let found = canary.find_in_processes();
            Ok(found.iter().any(|one| one.place.starts_with("environ")).then_some(()))
        })
        .unwrap();
        drop(child);
        canary.assert_absent_in_processes();
    }
}
