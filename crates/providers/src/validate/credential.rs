//! Checks a credential's input. No text here ever repeats what was given, names included: people
//! paste secrets into the wrong field.

use std::collections::BTreeMap;

use keyferry_domain::FieldError;
use keyferry_domain::credential::CredentialKind;
use keyferry_domain::secret::{SecretBytes, SecretString};

use super::{MAX_VALUE_BYTES, MAX_VALUES, check_text, pointer, unknown_field};
use crate::provider::{CredentialForm, OpenCredential};

/// What a person gave for a credential. Everything counts as secret until the declaration has
/// said what is not.
#[derive(Debug, Clone, Default)]
pub struct CredentialInput {
    /// The declared fields by name, public and secret alike; for the kind `values` the values
    /// under the names that the person chose.
    pub fields: BTreeMap<String, SecretString>,
    /// Named files, for the kind `values` only.
    pub files: BTreeMap<String, SecretBytes>,
}

/// Checks a credential's input against its form and splits it into what may be shown and what is
/// sealed. `parent` is the JSON pointer of the credential in the request, empty when it is the
/// request; errors point at `<parent>/fields/<name>` and `<parent>/files/<name>`.
pub fn validate_credential(
    form: &CredentialForm,
    input: &CredentialInput,
    parent: &str,
) -> Result<OpenCredential, Vec<FieldError>> {
    let mut credential = OpenCredential {
        kind: form.kind,
        public: BTreeMap::new(),
        secrets: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    let mut errors = Vec::new();
    if form.kind == CredentialKind::Values {
        check_values(input, parent, &mut credential, &mut errors);
    } else {
        check_fields(form, input, parent, &mut credential, &mut errors);
        if !input.files.is_empty() {
            let message =
                format!("is only for credentials of the kind `{}`", CredentialKind::Values);
            errors.push(FieldError::new(format!("{parent}/files"), message));
        }
    }
    if errors.is_empty() { Ok(credential) } else { Err(errors) }
}

fn check_fields(
    form: &CredentialForm,
    input: &CredentialInput,
    parent: &str,
    credential: &mut OpenCredential,
    errors: &mut Vec<FieldError>,
) {
    let parent = format!("{parent}/fields");
    for name in input.fields.keys() {
        if !form.fields.iter().any(|field| field.name == name) {
            let known = form.fields.iter().map(|field| field.name);
            errors.push(FieldError::new(pointer(&parent, name), unknown_field(name, known)));
        }
    }
    for field in form.fields {
        let text = input.fields.get(field.name).map_or("", |text| text.expose().as_str());
        if text.trim().is_empty() {
            match field.default {
                Some(default) => {
                    credential.public.insert(field.name.to_owned(), default.to_owned());
                }
                None if field.is_required => {
                    errors.push(FieldError::new(pointer(&parent, field.name), "is missing"));
                }
                None => {}
            }
            continue;
        }
        match check_text(field, text) {
            Ok(text) if field.is_secret => {
                credential.secrets.insert(field.name.to_owned(), text.into());
            }
            // Basic authentication splits at the first colon (RFC 7617), so that a name with one
            // would send its rest as part of the password.
            Ok(text) if field.name == "username" && text.contains(':') => {
                errors.push(FieldError::new(pointer(&parent, field.name), "contains a colon"));
            }
            Ok(text) => {
                credential.public.insert(field.name.to_owned(), text);
            }
            Err(message) => errors.push(FieldError::new(pointer(&parent, field.name), message)),
        }
    }
}

fn check_values(
    input: &CredentialInput,
    parent: &str,
    credential: &mut OpenCredential,
    errors: &mut Vec<FieldError>,
) {
    let count = input.fields.len() + input.files.len();
    if count == 0 {
        errors.push(FieldError::new(format!("{parent}/fields"), "has neither a value nor a file"));
    }
    if count > MAX_VALUES {
        let message = format!("has more than {MAX_VALUES} values and files");
        errors.push(FieldError::new(format!("{parent}/fields"), message));
        return;
    }
    for (name, value) in &input.fields {
        let at = || pointer(&format!("{parent}/fields"), name);
        if !is_value_name(name) {
            errors.push(FieldError::new(at(), VALUE_NAME_RULE));
        } else if value.expose().len() > MAX_VALUE_BYTES {
            errors.push(FieldError::new(at(), TOO_LARGE));
        } else if value.expose().contains('\0') {
            errors.push(FieldError::new(at(), "contains a NUL character; give it as a file"));
        } else {
            credential.secrets.insert(name.clone(), value.clone());
        }
    }
    for (name, file) in &input.files {
        let at = || pointer(&format!("{parent}/files"), name);
        if !is_file_name(name) {
            errors.push(FieldError::new(at(), FILE_NAME_RULE));
        } else if file.expose().len() > MAX_VALUE_BYTES {
            errors.push(FieldError::new(at(), TOO_LARGE));
        } else if input.fields.contains_key(name) {
            // Both would become the same file of a Service Binding directory.
            errors.push(FieldError::new(at(), "has the name of a value too"));
        } else {
            credential.files.insert(name.clone(), file.clone());
        }
    }
}

const TOO_LARGE: &str = "is larger than 1 MiB";

const VALUE_NAME_RULE: &str = "is not a name for a value; a name starts with a letter or `_` and \
                               has at most 128 letters, digits, `_`, `.` and `-`";

const FILE_NAME_RULE: &str = "is not a name for a file; a name has 1 to 128 letters, digits, `_`, \
                              `.`, `-` and `+`, and does not start with `-` or two dots";

/// `[A-Za-z_][A-Za-z0-9_.-]{0,127}`: good as a file name and, without `.` and `-`, as the name of
/// an environment variable.
fn is_value_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && name.len() <= 128
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// A plain name inside one folder. Names that start with two dots are left to the machinery of
/// folders that are swapped as a whole (Kubernetes uses `..data`).
fn is_file_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name != "."
        && !name.starts_with("..")
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'+'))
}
