//! Checks the settings of a connection. What a text of each format looks like is in `formats`.

use std::collections::BTreeMap;

use keyferry_domain::FieldError;

use super::{check_text, pointer, unknown_field};
use crate::provider::{Kind, Settings};

/// Checks settings against the declaration of a connection type; all errors at once, with JSON
/// pointers like `/settings/base_url`. Defaults are filled in, and addresses come back in their
/// one spelling. An empty text counts as not given.
pub fn validate_settings(
    kind: &Kind,
    given: &BTreeMap<String, String>,
) -> Result<Settings, Vec<FieldError>> {
    let mut settings = Settings::new();
    let mut errors = Vec::new();
    for name in given.keys() {
        if !kind.settings.iter().any(|field| field.name == name) {
            let known = kind.settings.iter().map(|field| field.name);
            errors.push(FieldError::new(pointer("/settings", name), unknown_field(name, known)));
        }
    }
    for field in kind.settings {
        let at = || pointer("/settings", field.name);
        let text = given.get(field.name).map_or("", String::as_str);
        if text.trim().is_empty() {
            match field.default {
                Some(default) => {
                    settings.insert(field.name.to_owned(), default.to_owned());
                }
                None if field.is_required => errors.push(FieldError::new(at(), "is missing")),
                None => {}
            }
            continue;
        }
        match check_text(field, text) {
            Ok(text) => {
                settings.insert(field.name.to_owned(), text);
            }
            Err(message) => errors.push(FieldError::new(at(), message)),
        }
    }
    if errors.is_empty() { Ok(settings) } else { Err(errors) }
}
