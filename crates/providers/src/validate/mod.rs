//! Checks what people put into the fields of connections and credentials, by their declarations.
//!
//! Pure: nothing is asked of any service here, that is `verify`. Error texts never repeat what was
//! given for a credential, nor for an address, which may hold a password. What a text of each
//! [`Format`](crate::provider::Format) must look like is in `formats`.

mod credential;
mod formats;
mod settings;

#[cfg(test)]
mod tests;

pub use credential::{CredentialInput, validate_credential};
pub use settings::validate_settings;

use crate::provider::Field;

/// A text field holds at most this much: room for a chain of certificates.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// A named value or file holds at most this much.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;

/// A credential of named values holds at most this many values and files.
pub const MAX_VALUES: usize = 100;

/// Escapes a name for a JSON pointer (RFC 6901), cut to a readable length.
fn pointer(parent: &str, name: &str) -> String {
    let name: String = name.chars().take(80).collect();
    format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Says that a field is unknown, and which one was probably meant.
fn unknown_field<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let shortened: String = name.chars().take(80).collect();
    let nearest = known
        .map(|candidate| (strsim::damerau_levenshtein(candidate, &shortened), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min();
    match nearest {
        Some((_, candidate)) => format!("is not a field here; did you mean `{candidate}`?"),
        None => "is not a field here".to_owned(),
    }
}

/// Checks one text by its declaration and returns it in its one spelling.
fn check_text(field: &Field, text: &str) -> Result<String, String> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("is longer than {} KiB", MAX_TEXT_BYTES / 1024));
    }
    if text.contains('\0') {
        return Err("contains a NUL character".to_owned());
    }
    if !field.is_multiline {
        if text.contains(['\n', '\r']) {
            return Err("contains a line break; this field takes one line".to_owned());
        }
        if text.chars().any(char::is_control) {
            return Err("contains a control character".to_owned());
        }
    }
    formats::check(field.format, text)
}
