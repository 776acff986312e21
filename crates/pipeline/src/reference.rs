//! The reference page of the file, made from its schema.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use crate::de::TAG;
use crate::schema::{resolve, root};

/// The reference page in Markdown: every table, key, type and default.
pub fn reference() -> String {
    let mut page = Page {
        out: PREFACE.to_owned(),
        seen: BTreeSet::new(),
    };
    page.table("", description(root()), root());
    page.out
}

const PREFACE: &str = "\
# The pipeline file

<!-- Made from the doc comments in crates/pipeline/src/raw.rs: \
UPDATE_GENERATED=1 cargo test -p floodmark-pipeline -->

A pipeline is one TOML file with SQL in it. `floodmark check FILE` shows everything that is wrong
with one, at once; `floodmark check --schema` prints its JSON Schema for editors
([schema/pipeline.schema.json](../../schema/pipeline.schema.json)). A complete example is
[pipelines/sensors.toml](../../pipelines/sensors.toml).

**Variables.** In string values, after the file is parsed: `${VAR}` must be set, `${VAR:-default}`
has a default for a variable that is unset or empty, `${VAR:?message}` stops with the message, and
`$${` is a dollar sign and a brace that mean themselves. What comes from a variable is never
printed.

**Durations** are numbers with units: `\"50 ms\"`, `\"10 seconds\"`, `\"5 minutes\"`,
`\"1 hour 30 minutes\"`, `\"2 days\"`. **Sizes** are `\"64 MiB\"` (1024) or `\"128 MB\"` (1000).
**Locations** are local paths (from the directory in which Floodmark runs), `file:///…` or
`s3://bucket/prefix`.

**Types** of columns are `STRING`, `BOOLEAN`, `INT`, `BIGINT`, `FLOAT`, `DOUBLE`, `DECIMAL(p,s)`,
`DATE`, `TIMESTAMP`, `BINARY` (base64 in JSON), `ARRAY<TYPE>`, `STRUCT<name: TYPE, …>` and
`MAP<STRING, TYPE>`. A column takes nulls unless its type ends with `NOT NULL`; what is inside an
`ARRAY`, `STRUCT` or `MAP` always does.

**Kafka properties** go to the client as they are (names as in librdkafka), except those that
exactly-once results depend on, which the engine sets itself. They are secrets: no message shows
their values.
";

/// The order of the page's sections.
const ORDER: [&str; 8] = [
    "sources",
    "views",
    "outputs",
    "dead_letter",
    "late",
    "checkpoint",
    "storage",
    "engine",
];

/// A table that gets a section of its own.
struct Below {
    path: String,
    meaning: String,
    schema: Value,
}

struct Page {
    out: String,
    seen: BTreeSet<String>,
}

impl Page {
    /// A table's section, then those of the tables below it.
    fn table(&mut self, path: &str, meaning: &str, schema: &Value) {
        let name = if path.is_empty() {
            "The file".to_owned()
        } else {
            format!("`[{path}]`")
        };
        self.section(2, &name, meaning);
        let mut below = Vec::new();
        self.keys(path, schema, &mut below);
        below.sort_by_key(|below| {
            let top = below.path.split('.').next().unwrap_or_default();
            ORDER.iter().position(|name| *name == top)
        });
        for below in below {
            self.any_table(&below);
        }
    }

    fn any_table(&mut self, below: &Below) {
        let Below { path, meaning, .. } = below;
        let schema = resolve(&below.schema);
        let Some(variants) = schema.get("oneOf").and_then(Value::as_array) else {
            return self.table(path, meaning, schema);
        };
        // `[dead_letter]` and `[late]` take what a sink takes.
        self.section(2, &format!("`[{path}]`"), meaning);
        let mut below = Vec::new();
        for variant in variants {
            let tag = tag(variant).unwrap_or_default();
            let kind = if path.starts_with("sources") {
                "source"
            } else {
                "sink"
            };
            if !self.seen.insert(format!("{kind} {tag}")) {
                let _ = writeln!(
                    self.out,
                    "\n`type = \"{tag}\"`: see the {tag} {kind} above."
                );
                continue;
            }
            self.section(
                3,
                &format!("`type = \"{tag}\"` ({kind})"),
                description(variant),
            );
            self.keys(path, variant, &mut below);
        }
        for below in below {
            if self.seen.insert(below.path.clone()) {
                self.any_table(&below);
            }
        }
    }

    fn section(&mut self, level: usize, title: &str, text: &str) {
        let _ = writeln!(self.out, "\n{} {title}\n\n{text}", "#".repeat(level));
    }

    /// The keys of a table; tables among them are left for `below`.
    fn keys(&mut self, path: &str, schema: &Value, below: &mut Vec<Below>) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        let (needed, optional): (Vec<_>, Vec<_>) = properties
            .iter()
            .filter(|(_, property)| property.get("const").is_none())
            .partition(|(key, _)| required(schema, key));
        if needed.is_empty() && optional.is_empty() {
            let _ = writeln!(self.out, "\nNo other keys.");
            return;
        }
        let _ = writeln!(
            self.out,
            "\n| key | type | default | meaning |\n|---|---|---|---|"
        );
        for (key, property) in needed.into_iter().chain(optional) {
            self.key(key, property, required(schema, key));
            let (suffix, table) = table_below(property);
            if let Some(table) = table {
                let separator = if path.is_empty() { "" } else { "." };
                let meaning = if suffix.is_empty() { property } else { table };
                below.push(Below {
                    path: format!("{path}{separator}{key}{suffix}"),
                    meaning: description(meaning).to_owned(),
                    schema: table.clone(),
                });
            }
        }
    }

    fn key(&mut self, key: &str, property: &Value, required: bool) {
        let default = match property.get("default") {
            Some(Value::String(text)) => format!("`\"{text}\"`"),
            Some(value) => format!("`{value}`"),
            None if required => "required".to_owned(),
            None => String::new(),
        };
        let meaning = description(property).replace("\n\n", " ");
        let words = words(property);
        let _ = writeln!(
            self.out,
            "| `{key}` | {} | {default} | {}{words} |",
            type_of(property).replace('|', "\\|"),
            meaning.replace('|', "\\|"),
        );
    }
}

/// The table that deserves a section of its own under a key: the key's, or that of each name in
/// it.
fn table_below(property: &Value) -> (&'static str, Option<&Value>) {
    let is_table = |schema: &Value| {
        schema.get("properties").is_some()
            || schema
                .get("oneOf")
                .and_then(Value::as_array)
                .is_some_and(|variants| variants.iter().any(|variant| tag(variant).is_some()))
    };
    let schema = resolve(property);
    if is_table(schema) {
        return ("", Some(schema));
    }
    let named = schema.get("additionalProperties").map(resolve);
    match named {
        Some(named) if is_table(named) => (".NAME", Some(named)),
        Some(named) => {
            let long = named.get("anyOf").and_then(Value::as_array);
            let long = long
                .into_iter()
                .flatten()
                .map(resolve)
                .find(|option| is_table(option));
            (".NAME", long)
        }
        None => ("", None),
    }
}

fn required(schema: &Value, key: &str) -> bool {
    schema
        .get("required")
        .and_then(Value::as_array)
        .is_some_and(|required| required.iter().any(|name| name == key))
}

fn tag(variant: &Value) -> Option<&str> {
    variant
        .get("properties")?
        .get(TAG)?
        .get("const")
        .and_then(Value::as_str)
}

fn description(schema: &Value) -> &str {
    schema
        .get("description")
        .or_else(|| resolve(schema).get("description"))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A key's type in a word or two.
fn type_of(property: &Value) -> String {
    let schema = resolve(property);
    // A recursive definition has a title too, which is where this ends.
    let title = property.get("title").or_else(|| schema.get("title"));
    if let Some(title) = title.and_then(Value::as_str) {
        return title.to_owned();
    }
    if let Some(options) = schema.get("anyOf").and_then(Value::as_array) {
        let names: Vec<String> = options.iter().map(type_of).collect();
        return names.join(" or ");
    }
    if schema.get("enum").is_some() || schema.get("oneOf").is_some() {
        let tagged = schema
            .get("oneOf")
            .and_then(Value::as_array)
            .is_some_and(|variants| variants.iter().any(|variant| tag(variant).is_some()));
        return if tagged { "table" } else { "word" }.to_owned();
    }
    let range = |name: &str| schema.get(name).or_else(|| property.get(name));
    let name = match schema.get("type").and_then(Value::as_str) {
        Some("object") => match schema.get("additionalProperties") {
            Some(named) if named.is_object() => match type_of(named).as_str() {
                "table" => "tables".to_owned(),
                name if name.contains(" or ") && !name.contains(',') => {
                    format!("table of ({name})")
                }
                name => format!("table of {name}"),
            },
            _ => "table".to_owned(),
        },
        Some("array") => match schema.get("items") {
            Some(items) => format!("list of {}", type_of(items)),
            None => "list".to_owned(),
        },
        Some(name) => name.to_owned(),
        None => "value".to_owned(),
    };
    match (
        range("minimum"),
        range("maximum"),
        range("exclusiveMinimum"),
    ) {
        (Some(least), Some(most), _) => format!("{name}, {least} to {most}"),
        (Some(least), None, _) if least.as_f64() != Some(0.0) => format!("{name}, {least} or more"),
        (_, _, Some(least)) => format!("{name} above {least}"),
        _ => name,
    }
}

/// What each word means that a key takes.
fn words(property: &Value) -> String {
    let schema = resolve(property);
    let mut out = String::new();
    let options = schema.get("oneOf").and_then(Value::as_array);
    for option in options.into_iter().flatten() {
        if let Some(word) = option.get("const").and_then(Value::as_str) {
            let meaning = description(option).trim_end_matches('.');
            let _ = write!(out, "<br>`{word}`: {meaning}.");
        }
    }
    out
}
