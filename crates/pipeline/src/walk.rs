//! Checks keys, types, words and ranges against the schema, all in one pass over the tree.
//!
//! What is refused is reported once and broken (or, for an unknown key, taken out), so that the
//! tree that is left can be read into the raw structs whatever the file looked like.

use serde_json::Value;

use crate::Span;
use crate::de::TAG;
use crate::diagnostic::{Diagnostic, Problems};
use crate::node::{Entry, Kind, Node};
use crate::schema::{resolve, root};
use crate::suggest::{closest, list};

/// Checks the whole file.
pub(crate) fn check(file: &mut Node, problems: &mut Problems) {
    let top = Place {
        path: String::new(),
        key: String::new(),
        name: Span::default(),
    };
    Walker { problems }.value(file, root(), &top);
}

struct Walker<'a> {
    problems: &'a mut Problems,
}

/// How messages call a value, and where to point when something is missing from it.
struct Place {
    /// Dotted path; empty for the file itself.
    path: String,
    /// The last key of it.
    key: String,
    /// The key under which the value stands.
    name: Span,
}

impl Place {
    fn child(&self, entry: &Entry) -> Self {
        let key = &entry.key.name;
        Self {
            path: if self.path.is_empty() {
                key.clone()
            } else {
                format!("{}.{key}", self.path)
            },
            key: key.clone(),
            name: entry.key.span,
        }
    }

    fn table(&self) -> String {
        if self.path.is_empty() {
            "the file".to_owned()
        } else {
            format!("[{}]", self.path)
        }
    }
}

impl Walker<'_> {
    fn value(&mut self, node: &mut Node, schema: &Value, place: &Place) {
        let schema = resolve(schema);
        if node.kind == Kind::Broken {
            return;
        }
        if let Some(variants) = tagged_variants(schema) {
            return self.tagged(node, variants, place);
        }
        if let Some(words) = words(schema) {
            return self.word(node, &words, place);
        }
        if schema.get("type").is_none()
            && let Some(options) = schema.get("anyOf").and_then(Value::as_array)
        {
            let title = schema.get("title").and_then(Value::as_str);
            return self.any_of(node, options, title, place);
        }
        if !accepts(schema, node) {
            return self.wrong_type(node, &expected(schema), place);
        }
        match &mut node.kind {
            Kind::Table(_) => self.table(node, schema, place, None),
            Kind::Array(items) => {
                let item_schema = schema.get("items").unwrap_or(&Value::Null);
                for item in items {
                    self.value(item, item_schema, place);
                }
                self.not_empty(node, schema, place);
            }
            Kind::Int(_) | Kind::Float(_) => self.range(node, schema, place),
            _ => {}
        }
    }

    fn any_of(&mut self, node: &mut Node, options: &[Value], title: Option<&str>, place: &Place) {
        let chosen = options.iter().find(|option| {
            let option = resolve(option);
            accepts(option, node)
        });
        if let Some(option) = chosen {
            return self.value(node, option, place);
        }
        let expected = match title {
            Some(title) => format!("a {title}"),
            None => {
                let names: Vec<String> = options
                    .iter()
                    .map(|option| expected(resolve(option)))
                    .collect();
                names.join(" or ")
            }
        };
        self.wrong_type(node, &expected, place);
    }

    fn wrong_type(&mut self, node: &mut Node, expected: &str, place: &Place) {
        let found = node.type_name();
        self.problems.push(
            Diagnostic::error(
                "wrong-type",
                node.span,
                format!("`{}` takes {expected}, not {found}", place.key),
            )
            .label(format!("expected {expected}"))
            .maybe_help(type_help(node, expected)),
        );
        node.kind = Kind::Broken;
    }

    fn word(&mut self, node: &mut Node, words: &[&str], place: &Place) {
        let Kind::Str(text) = &node.kind else {
            return self.wrong_type(node, "a string", place);
        };
        if words.contains(&text.value.as_str()) {
            return;
        }
        let help = closest(&text.value, words.iter().copied())
            .map(|word| format!("did you mean `{word}`?"));
        self.problems.push(
            Diagnostic::error(
                "unknown-value",
                node.span,
                format!("`{}` does not take {}", place.key, text.shown()),
            )
            .label(format!("expected {}", list(words.iter().copied(), "or")))
            .maybe_help(help),
        );
        node.kind = Kind::Broken;
    }

    /// A table whose `type` says which keys it has.
    fn tagged(&mut self, node: &mut Node, variants: &[Value], place: &Place) {
        let Kind::Table(entries) = &mut node.kind else {
            return self.wrong_type(node, "a table", place);
        };
        let words: Vec<&str> = variants.iter().filter_map(tag_of).collect();
        let Some(tag) = entries.iter_mut().find(|entry| entry.key.name == TAG) else {
            self.problems.push(
                Diagnostic::error(
                    "missing-key",
                    place.name,
                    format!("{} has no `{TAG}`", place.table()),
                )
                .label(format!("needs a `{TAG}`"))
                .help(format!("`{TAG}` is {}", list(words.iter().copied(), "or"))),
            );
            node.kind = Kind::Broken;
            return;
        };
        let tag_place = Place {
            path: format!("{}.{TAG}", place.path),
            key: TAG.to_owned(),
            name: tag.key.span,
        };
        self.word(&mut tag.node, &words, &tag_place);
        let chosen = match &tag.node.kind {
            Kind::Str(text) => variants
                .iter()
                .find(|variant| tag_of(variant) == Some(&text.value)),
            _ => None,
        };
        match chosen {
            Some(variant) => {
                let tag = tag_of(variant);
                self.table(node, variant, place, tag);
            }
            None => node.kind = Kind::Broken,
        }
    }

    fn table(&mut self, node: &mut Node, schema: &Value, place: &Place, tag: Option<&str>) {
        let properties = |key: &str| property(schema, key);
        let Kind::Table(entries) = &mut node.kind else {
            return;
        };
        // The tag of a tagged table has been looked at already.
        let is_tag = |name: &str| tag.is_some() && name == TAG;
        let names: Vec<&str> = keys(schema).filter(|name| !is_tag(name)).collect();
        let others = schema
            .get("additionalProperties")
            .filter(|others| others.is_object());
        let mut meant = Vec::new();
        entries.retain_mut(|entry| {
            let child = place.child(entry);
            if let Some(schema) = properties(&entry.key.name).or(others) {
                self.value(&mut entry.node, schema, &child);
                true
            } else {
                meant.extend(closest(&entry.key.name, names.iter().copied()));
                self.unknown_key(entry, &names, schema, place, tag);
                false
            }
        });
        for name in required(schema) {
            // A key that is there in another spelling has been reported as that.
            let there = meant.contains(&name) || entries.iter().any(|entry| entry.key.name == name);
            if !is_tag(name) && !there {
                self.missing_key(name, properties(name), place);
            }
        }
        self.not_empty(node, schema, place);
    }

    fn unknown_key(
        &mut self,
        entry: &Entry,
        names: &[&str],
        schema: &Value,
        place: &Place,
        tag: Option<&str>,
    ) {
        let key = entry.key.name.escape_debug().to_string();
        let owner = match tag {
            Some(tag) => format!("{} (type `{tag}`)", place.table()),
            None => place.table(),
        };
        let help = closest(&entry.key.name, names.iter().copied())
            .map(|name| format!("did you mean `{name}`?"))
            .or_else(|| belongs_below(&entry.key.name, schema, place))
            .unwrap_or_else(|| match names {
                [] => "it takes no other keys".to_owned(),
                _ => format!("it takes {}", list(names.iter().copied(), "and")),
            });
        self.problems.push(
            Diagnostic::error(
                "unknown-key",
                entry.key.span,
                format!("{owner} has no key `{key}`"),
            )
            .label("unknown key")
            .help(help),
        );
    }

    fn missing_key(&mut self, name: &str, schema: Option<&Value>, place: &Place) {
        let meaning = schema
            .and_then(|schema| schema.get("description"))
            .and_then(Value::as_str)
            .map(|text| format!("`{name}`: {}", first_sentence(text)));
        self.problems.push(
            Diagnostic::error(
                "missing-key",
                place.name,
                format!("{} has no `{name}`", place.table()),
            )
            .label(format!("needs `{name}`"))
            .maybe_help(meaning),
        );
    }

    fn not_empty(&mut self, node: &Node, schema: &Value, place: &Place) {
        let (len, least) = match &node.kind {
            Kind::Table(entries) => (entries.len(), schema.get("minProperties")),
            Kind::Array(items) => (items.len(), schema.get("minItems")),
            _ => return,
        };
        if least
            .and_then(Value::as_u64)
            .is_some_and(|least| (len as u64) < least)
        {
            self.problems.push(
                Diagnostic::error(
                    "missing-value",
                    place.name,
                    format!("`{}` is empty", place.path),
                )
                .label("needs at least one"),
            );
        }
    }

    fn range(&mut self, node: &mut Node, schema: &Value, place: &Place) {
        let number = match node.kind {
            Kind::Int(number) => number as f64,
            Kind::Float(number) => number,
            _ => return,
        };
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let within = bound("minimum").is_none_or(|least| number >= least)
            && bound("exclusiveMinimum").is_none_or(|least| number > least)
            && bound("maximum").is_none_or(|most| number <= most)
            && number.is_finite();
        if within {
            return;
        }
        let limits = match (
            bound("minimum"),
            bound("exclusiveMinimum"),
            bound("maximum"),
        ) {
            (Some(least), _, Some(most)) => format!("{least} to {most}"),
            (Some(least), _, None) => format!("{least} or more"),
            (None, Some(least), _) => format!("more than {least}"),
            (None, None, Some(most)) => format!("at most {most}"),
            (None, None, None) => "a finite number".to_owned(),
        };
        self.problems.push(
            Diagnostic::error(
                "out-of-range",
                node.span,
                format!("`{}` is out of range", place.key),
            )
            .label(format!("expected {limits}")),
        );
        node.kind = Kind::Broken;
    }
}

/// The variants of a table told apart by its `type` key.
fn tagged_variants(schema: &Value) -> Option<&[Value]> {
    let variants = schema.get("oneOf")?.as_array()?;
    variants
        .iter()
        .all(|variant| tag_of(variant).is_some())
        .then_some(variants)
}

fn tag_of(variant: &Value) -> Option<&str> {
    property(variant, TAG)?.get("const")?.as_str()
}

/// The words a string can be, if it cannot be any string.
fn words(schema: &Value) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().map(Value::as_str).collect();
    }
    if let Some(word) = schema.get("const") {
        return word.as_str().map(|word| vec![word]);
    }
    schema
        .get("oneOf")?
        .as_array()?
        .iter()
        .map(|variant| variant.get("const").and_then(Value::as_str))
        .collect()
}

fn property<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    schema.get("properties")?.get(key)
}

fn keys(schema: &Value) -> impl Iterator<Item = &str> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|properties| properties.keys().map(String::as_str))
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// The types a schema names; none means any.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn accepts(schema: &Value, node: &Node) -> bool {
    let types = types(schema);
    types.is_empty()
        || types.iter().any(|name| match node.kind {
            Kind::Str(_) => *name == "string",
            Kind::Datetime(_) => *name == "string" && takes_moments(schema),
            Kind::Int(_) => matches!(*name, "integer" | "number"),
            Kind::Float(_) => *name == "number",
            Kind::Bool(_) => *name == "boolean",
            Kind::Array(_) => *name == "array",
            Kind::Table(_) => *name == "object",
            Kind::Broken => true,
        })
}

/// Whether a bare TOML date and time is as good as a string.
fn takes_moments(schema: &Value) -> bool {
    schema
        .get("anyOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|option| option.get("format").and_then(Value::as_str) == Some("date-time"))
}

/// What a schema takes, in a reader's words.
fn expected(schema: &Value) -> String {
    let title = schema.get("title").and_then(Value::as_str);
    let names: Vec<&str> = types(schema)
        .into_iter()
        .map(|name| match name {
            "string" => "a string",
            "integer" => "an integer",
            "number" => "a number",
            "boolean" => "true or false",
            "array" => "an array",
            _ => "a table",
        })
        .collect();
    match title {
        Some(title) if names == ["a string"] => format!("a string ({title})"),
        _ => names.join(" or "),
    }
}

fn type_help(node: &Node, expected: &str) -> Option<String> {
    match &node.kind {
        Kind::Str(text) if expected.contains("integer") && text.value.parse::<i64>().is_ok() => {
            Some("write the number without quotes".to_owned())
        }
        Kind::Str(text) if expected.contains("number") && text.value.parse::<f64>().is_ok() => {
            Some("write the number without quotes".to_owned())
        }
        Kind::Str(text) if expected == "true or false" && text.value.parse::<bool>().is_ok() => {
            Some("write it without quotes".to_owned())
        }
        Kind::Int(_) | Kind::Float(_) if expected.contains("duration") => {
            Some("write the unit too, such as \"10 seconds\"".to_owned())
        }
        Kind::Int(_) | Kind::Float(_) if expected.contains("size") => {
            Some("write the unit too, such as \"128 MB\"".to_owned())
        }
        Kind::Int(_) | Kind::Float(_) | Kind::Bool(_) if expected.starts_with("a string") => {
            Some("put it in quotes".to_owned())
        }
        _ => None,
    }
}

/// If a table below takes the key, says so.
fn belongs_below(key: &str, schema: &Value, place: &Place) -> Option<String> {
    let properties = schema.get("properties")?.as_object()?;
    let (below, _) = properties.iter().find(|(_, schema)| {
        let schema = resolve(schema);
        let variants = schema.get("oneOf").and_then(Value::as_array);
        property(schema, key).is_some()
            || variants
                .into_iter()
                .flatten()
                .any(|variant| property(variant, key).is_some())
    })?;
    let path = &place.path;
    let separator = if path.is_empty() { "" } else { "." };
    Some(format!("it belongs into [{path}{separator}{below}]"))
}

fn first_sentence(text: &str) -> &str {
    match text.find(". ") {
        Some(end) => &text[..end],
        None => text.trim_end_matches('.'),
    }
}
