//! The JSON Schema of a pipeline's text, for editors.
//!
//! Made from the same tables that read the text, so it cannot say anything else. It is as generous as
//! the reader, and knows less: references and connections are checked by [`crate::Definition::parse`].

use serde_json::{Map, Value, json};

use crate::definition::PIPELINE;
use crate::keys::{Key, Shape, Support, Table};
use crate::steps::{STEP, tables};

/// Returns the schema (JSON Schema, draft 2020-12).
pub fn schema() -> Value {
    let mut schema = table(&PIPELINE);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Keyferry pipeline");
    schema["required"] = json!(["stages"]);
    // `x-…` keys hold anchors.
    schema["patternProperties"] = json!({ "^x-": true });
    schema
}

fn table(table: &Table) -> Value {
    let mut properties = Map::new();
    for key in table.keys {
        for name in std::iter::once(&key.name).chain(key.aliases) {
            properties.insert((*name).to_owned(), value(key));
        }
    }
    let mut schema = json!({ "properties": properties, "additionalProperties": false });
    // An empty mapping is often written as nothing.
    schema["type"] = json!(["object", "null"]);
    if std::ptr::eq(table, &raw const STEP) {
        schema["allOf"] = tables()
            .iter()
            .map(|(name, with)| {
                json!({
                    "if": { "properties": { "step": { "const": name } }, "required": ["step"] },
                    "then": { "properties": { "with": self::table(with) } },
                })
            })
            .collect();
    }
    schema
}

fn value(key: &Key) -> Value {
    let scalar = || json!({ "type": ["string", "number", "boolean", "null"] });
    let mut schema = match key.shape {
        Shape::Text => scalar(),
        Shape::Integer { minimum, maximum } => {
            json!({ "type": ["integer", "string"], "minimum": minimum, "maximum": maximum })
        }
        Shape::Boolean => json!({ "enum": [true, false, "true", "false"] }),
        Shape::Texts => json!({ "anyOf": [scalar(), { "type": "array", "items": scalar() }] }),
        // Not an `enum`: any letter case is read, and editors complete from examples too.
        Shape::OneOf(names) => json!({ "type": "string", "examples": names }),
        Shape::Map(inner) => table(inner),
        Shape::Each(inner) => {
            json!({ "type": ["object", "null"], "additionalProperties": table(inner) })
        }
        Shape::List(inner) => json!({ "type": ["array", "null"], "items": table(inner) }),
        Shape::TextMap => json!({ "type": ["object", "null"], "additionalProperties": scalar() }),
        Shape::Any => json!({}),
    };
    schema["description"] = json!(key.help);
    if key.support == Support::NotRun {
        schema["deprecated"] = json!(true);
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_described() {
        let schema = schema();
        let step = &schema["properties"]["stages"]["additionalProperties"]["properties"]["jobs"]["additionalProperties"]
            ["properties"]["steps"]["additionalProperties"];
        assert_eq!(step["allOf"].as_array().map(Vec::len), Some(crate::steps::NAMES.len()));
        let command = &step["allOf"][0]["then"]["properties"]["with"]["properties"];
        assert_eq!(command["run"]["description"], "The script.");
        assert_eq!(schema["properties"]["variableGroups"]["deprecated"], true);
        assert_eq!(schema["additionalProperties"], false);
    }

    #[test]
    fn each_step_that_runs_has_a_table() {
        assert_eq!(tables().map(|(name, _)| name).as_slice(), crate::steps::NAMES);
    }
}
