//! The spellings in which a secret may turn up in a log.
//!
//! As it is, line by line; in base64 at each of the three alignments, so that it is found inside a
//! longer encoded text (`user:password`); URL-encoded; escaped as JSON. Other spellings (reversed,
//! hex, split by spaces) are not looked for.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::automaton::Automaton;

/// Shorter values are not masked: hiding every `abc` would hide the log and show the secret's length.
pub const MINIMUM_BYTES: usize = 4;

/// Longer values are looked for as they are, line by line, but not encoded: each byte of a pattern
/// costs memory for as long as the job runs.
const LONGEST_ENCODED_BYTES: usize = 16 * 1024;

/// RFC 3986, section 2.3: what needs no escape.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What to hide. Build it anew when the job receives another secret.
pub struct Patterns {
    pub(super) automaton: Automaton,
}

impl std::fmt::Debug for Patterns {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Patterns(****)")
    }
}

impl Patterns {
    /// Takes the secret values. Values under [`MINIMUM_BYTES`] are left out.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut patterns = Vec::new();
        for value in values {
            spell(value, &mut patterns);
        }
        patterns.sort_unstable();
        patterns.dedup();
        Self { automaton: Automaton::new(patterns.iter().map(Vec::as_slice)) }
    }
}

/// Adds every spelling of a value that is long enough to be looked for.
fn spell(value: &[u8], patterns: &mut Vec<Vec<u8>>) {
    let mut add = |pattern: Vec<u8>| {
        let joined: Vec<u8> =
            pattern.into_iter().filter(|byte| !super::is_line_break(*byte)).collect();
        if joined.len() >= MINIMUM_BYTES {
            patterns.push(joined);
        }
    };
    for line in value.split(|byte| super::is_line_break(*byte)) {
        let trimmed = line.trim_ascii();
        add(if trimmed.len() >= MINIMUM_BYTES { trimmed } else { line }.to_vec());
    }
    if value.len() < MINIMUM_BYTES || value.len() > LONGEST_ENCODED_BYTES {
        return;
    }
    add(value.to_vec());
    add_encoded(value, &mut add);
    // A shell's `$(…)` and most editors drop a trailing line break before the value is encoded.
    let trimmed = value.trim_ascii();
    if trimmed != value && trimmed.len() >= MINIMUM_BYTES {
        add_encoded(trimmed, &mut add);
    }
}

fn add_encoded(value: &[u8], add: &mut impl FnMut(Vec<u8>)) {
    for engine in [&STANDARD, &URL_SAFE] {
        add(engine.encode(value).into_bytes());
        for (offset, unstable_start) in [(0, 0), (1, 2), (2, 3)] {
            let mut shifted = vec![0_u8; offset];
            shifted.extend_from_slice(value);
            // Characters that hold bits of the neighbours are left out at both ends.
            let stable_end = shifted.len() * 8 / 6;
            let encoded = engine.encode(&shifted).into_bytes();
            add(encoded[unstable_start..stable_end].to_vec());
        }
    }
    if let Ok(text) = std::str::from_utf8(value) {
        let encoded = utf8_percent_encode(text, RESERVED).to_string();
        add(encoded.replace("%20", "+").into_bytes());
        add(lower_escapes(&encoded).into_bytes());
        add(encoded.into_bytes());
        if let Ok(json) = serde_json::to_string(text) {
            add(json[1..json.len() - 1].replace('/', "\\/").into_bytes());
            add(json[1..json.len() - 1].to_owned().into_bytes());
        }
    }
}

/// Writes the hex digits of percent escapes in lower case, as some tools do.
fn lower_escapes(encoded: &str) -> String {
    let mut rest_of_escape = 0;
    encoded
        .chars()
        .map(|character| {
            if character == '%' {
                rest_of_escape = 2;
                character
            } else if rest_of_escape > 0 {
                rest_of_escape -= 1;
                character.to_ascii_lowercase()
            } else {
                character
            }
        })
        .collect()
}
