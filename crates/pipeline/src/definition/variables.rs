//! Variables that the text itself gives.

use crate::definition::Variable;
use crate::definition::tables::VARIABLE;
use crate::diagnostic::{code, quote};
use crate::reader::Reader;
use crate::yaml::Node;

/// How Flow says what a value is. All of them reach a job as text.
pub(super) const TYPES: &[&str] = &["String", "Number", "Boolean", "Object"];

/// The most text that a pipeline's variables may hold together; each job carries a copy.
pub(crate) const MAXIMUM_BYTES: usize = 64 * 1024;

/// How to name a variable, for hints.
pub(crate) const VARIABLE_NAME_HINT: &str =
    "a name has letters, digits and `_`, and does not start with a digit or `KEYFERRY_`";

/// Tells whether a shell can read a variable of this name.
pub(crate) fn is_variable_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|one| one.is_ascii_alphanumeric() || one == '_')
        && text.len() <= 128
}

/// Reads `[{key, type, value}]`, of a pipeline or of a step.
pub(crate) fn read(reader: &mut Reader<'_>, node: Option<&Node>) -> Vec<Variable> {
    let Some(node) = node else { return Vec::new() };
    let mut variables: Vec<Variable> = Vec::new();
    for (index, item) in reader.items(node, "a list of variables").iter().enumerate() {
        let variable = reader.inside(&index.to_string(), |reader| read_one(reader, item));
        let Some(variable) = variable else { continue };
        if variables.iter().any(|other| other.key == variable.key) {
            let message = format!("the variable {} is given twice", quote(&variable.key));
            reader.note(item.at, code::DUPLICATE_KEY, message);
        }
        variables.push(variable);
    }
    if variables.iter().map(|one| one.value.len()).sum::<usize>() > MAXIMUM_BYTES {
        let message = format!("the variables hold more than {MAXIMUM_BYTES} bytes");
        reader.note(node.at, code::TOO_LARGE, message);
    }
    variables
}

fn read_one(reader: &mut Reader<'_>, item: &Node) -> Option<Variable> {
    let fields = reader.fields(item, &VARIABLE);
    reader.choice_of(&fields, "type", TYPES);
    if reader.boolean_of(&fields, "isEncrypted") == Some(true) {
        let hint = "give the job a connection of type `generic` instead: `with.connections` of \
                    `Command`";
        let at = fields.place("isEncrypted");
        reader.not_run(at, "an encrypted variable inside the text", Some(hint.to_owned()));
    }
    let value = reader.text_of(&fields, "value").unwrap_or_default();
    if value.contains('\0') {
        reader.note(fields.place("value"), code::WRONG_VALUE, "a variable cannot hold a NUL");
    }
    let key = reader.required(&fields, "key")?;
    let problem = if !is_variable_name(&key) {
        Some("is not a variable's name; it takes letters, digits and `_`")
    } else if key == "version" {
        Some("is a reserved name in Flow")
    } else if key.starts_with("KEYFERRY_") {
        Some("is reserved: names that start with `KEYFERRY_` belong to Keyferry")
    } else {
        None
    };
    if let Some(problem) = problem {
        let message = format!("{} {problem}", quote(&key));
        reader.note(fields.place("key"), code::WRONG_VALUE, message);
    }
    Some(Variable { key, value })
}
