//! The JSON Schema of the file, made from the raw structs.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::raw::RawPipeline;

/// JSON Schema (draft 2020-12) of the pipeline file, for editors and other tools.
pub fn json_schema() -> Value {
    root().clone()
}

/// The schema, made once.
pub(crate) fn root() -> &'static Value {
    static ROOT: OnceLock<Value> = OnceLock::new();
    ROOT.get_or_init(|| {
        let mut schema = SchemaSettings::draft2020_12()
            .for_deserialize()
            .into_generator()
            .into_root_schema_for::<RawPipeline>()
            .to_value();
        tidy(&mut schema);
        schema
    })
}

/// Follows `$ref` to the definition it names.
pub(crate) fn resolve(mut schema: &Value) -> &Value {
    while let Some(name) = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.strip_prefix("#/$defs/"))
    {
        match root().get("$defs").and_then(|defs| defs.get(name)) {
            Some(definition) => schema = definition,
            None => break,
        }
    }
    schema
}

/// How the names of the structs in [`crate::raw`] begin.
const PREFIX: &str = "Raw";

/// Drops what is about Rust and not about the file: integer widths, line breaks of comments, and
/// the prefix of the structs' names.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let width = map.get("format").and_then(Value::as_str);
            if width.is_some_and(|width| width.starts_with("int") || width.starts_with("uint"))
                || width == Some("double")
            {
                map.remove("format");
            }
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text
                    .split("\n\n")
                    .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
                    .collect::<Vec<_>>()
                    .join("\n\n");
            }
            if let Some(Value::String(reference)) = map.get_mut("$ref") {
                *reference = reference.replace(&format!("/{PREFIX}"), "/");
            }
            if let Some(Value::Object(definitions)) = map.get_mut("$defs") {
                *definitions = std::mem::take(definitions)
                    .into_iter()
                    .map(|(name, schema)| (name.trim_start_matches(PREFIX).to_owned(), schema))
                    .collect();
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

pub(crate) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "title": "duration",
        "type": "string",
        "examples": ["50 ms", "10 seconds", "5 minutes", "1 hour"],
    })
}

pub(crate) fn size(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "title": "size", "type": "string", "examples": ["64 MiB", "128 MB"] })
}

pub(crate) fn location(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "title": "location",
        "type": "string",
        "examples": ["data/curated", "file:///srv/curated", "s3://bucket/curated"],
    })
}

pub(crate) fn query(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "title": "SQL query", "type": "string" })
}

pub(crate) fn queries(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": query(generator) })
}

pub(crate) fn expression(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "title": "SQL expression", "type": "string" })
}

pub(crate) fn expressions(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": expression(generator) })
}

pub(crate) fn column_type(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "title": "SQL type",
        "type": "string",
        "examples": ["STRING NOT NULL", "DOUBLE", "DECIMAL(10,2)", "ARRAY<STRING>"],
    })
}

pub(crate) fn start(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "title": "earliest, latest or a moment",
        "type": "string",
        "anyOf": [{ "enum": ["earliest", "latest"] }, { "format": "date-time" }],
    })
}

pub(crate) fn scalar(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number", "boolean"] })
}
