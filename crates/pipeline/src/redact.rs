//! Blanks secrets in a file's text before any of it is shown.
//!
//! Works on the text alone and errs on the side of blanking: a value is a secret if its key or a
//! table above it sounds like one, or if it is a Kafka client property. References like `${VAR}`
//! are left as they are; what they stand for is never part of the text. Lengths and line breaks
//! stay, so that carets still point at their place.

use std::borrow::Cow;

use crate::diagnostic::Problems;
use crate::node::{self, Kind, Node};
use crate::suggest::closest;

/// What a key contains that holds a secret.
const TELLING: [&str; 10] = [
    "secret",
    "password",
    "passwd",
    "passphrase",
    "token",
    "credential",
    "access_key",
    "accesskey",
    "private",
    "jaas",
];

/// Keys that hold secrets, for slips of the pen such as `secret_acess_key`.
const SECRET_KEYS: [&str; 4] = [
    "secret_access_key",
    "access_key_id",
    "sasl.password",
    "ssl.key.password",
];

/// Tables in which every value is a secret.
const SECRET_TABLE: &str = "kafka";

/// The text with secrets blanked.
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    let mut problems = Problems::default();
    let tree = node::parse(text, &mut problems);
    let mut blanks = Vec::new();
    secrets(&tree, false, &mut blanks);
    if problems.has_errors() {
        // Where the text is no TOML the tree may lack what is secret.
        telling_lines(text, &mut blanks);
    }
    if blanks.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut bytes = text.as_bytes().to_vec();
    for blank in blanks {
        blank_out(text, blank, &mut bytes);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

type Range = std::ops::Range<usize>;

fn secrets(node: &Node, secret: bool, blanks: &mut Vec<Range>) {
    match &node.kind {
        Kind::Table(entries) => {
            for entry in entries {
                let key = &entry.key.name;
                let secret = secret || key == SECRET_TABLE || is_telling(key);
                secrets(&entry.node, secret, blanks);
            }
        }
        Kind::Array(items) => items.iter().for_each(|item| secrets(item, secret, blanks)),
        _ if secret => blanks.push(node.span.start..node.span.end),
        _ => {}
    }
}

fn is_telling(key: &str) -> bool {
    let lower = key.to_lowercase().replace('-', "_");
    TELLING.iter().any(|word| lower.contains(word)) || closest(&lower, SECRET_KEYS).is_some()
}

/// From the first telling word of a line on: what follows its `=`, up to the end of the line, or
/// to the end of the text if a string of several lines begins there.
fn telling_lines(text: &str, blanks: &mut Vec<Range>) {
    let mut start = 0;
    let mut in_secret_table = false;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        let trimmed = line.trim_start();
        if trimmed.starts_with('[') {
            in_secret_table = trimmed.contains(SECRET_TABLE);
        }
        let mut words = line.split(|c: char| !(c.is_alphanumeric() || "_-.".contains(c)));
        let telling = words.find(|word| is_telling(word));
        if telling.is_some() || in_secret_table && !trimmed.starts_with('[') {
            let after_key = line.find('=').map(|equals| equals + 1).or_else(|| {
                let word = telling?;
                line.find(word).map(|at| at + word.len())
            });
            let several = line.contains("\"\"\"") || line.contains("'''");
            let until = if several { text.len() } else { end };
            blanks.push(start + after_key.unwrap_or(0)..until);
        }
        start = end;
    }
}

/// Replaces each character of the range by as many `*` as it has bytes, but leaves quotes, line
/// breaks, blanks and references.
fn blank_out(text: &str, range: Range, bytes: &mut [u8]) {
    let Some(secret) = text.get(range.clone()) else {
        return;
    };
    let mut at = 0;
    while let Some(c) = secret[at..].chars().next() {
        let rest = &secret[at..];
        let reference = rest
            .strip_prefix("${")
            .and_then(|inner| inner.find([':', '}', '"', '\'', '\n']))
            .filter(|end| rest.as_bytes().get(end + 2) == Some(&b'}'));
        if let Some(end) = reference {
            at += end + 3;
            continue;
        }
        if !matches!(c, '"' | '\'' | ' ' | '\n' | '\r' | '\t') {
            let start = range.start + at;
            bytes[start..start + c.len_utf8()].fill(b'*');
        }
        at += c.len_utf8();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_blanked_and_references_stay() {
        let text = r#"
name = "visible"
[storage.s3]
access_key_id = "AKIA"
secret_access_key = "${KEY}" # from outside
secret_acess_key = "sl ip"
[sources.x.kafka]
"sasl.password" = "${P:-hunter2}"
sasl.username = 'me'
[a]
kafka = { "ssl.key.password" = """
two
lines""" }
"#;
        let shown = r#"
name = "visible"
[storage.s3]
access_key_id = "****"
secret_access_key = "${KEY}" # from outside
secret_acess_key = "** **"
[sources.x.kafka]
"sasl.password" = "*************"
sasl.username = '**'
[a]
kafka = { "ssl.key.password" = """
***
*****""" }
"#;
        assert_eq!(redact(text), shown);
    }

    #[test]
    fn what_is_no_toml_is_blanked_line_by_line() {
        let text = "[storage.s3\nsecret_access_key = \"hunter2\nname = \"x\"\n";
        let shown = redact(text);
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("name = \"x\""), "{shown}");
        assert_eq!(shown.len(), text.len());
    }
}
