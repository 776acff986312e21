//! Stepping over whole values that no column wants.
//!
//! What these functions accept is what `serde_json` accepts: a record is valid JSON from its first byte to
//! its last, or it is refused.

use super::MAX_DEPTH;
use super::number;
use super::reject::Reject;
use super::scan::{colon, literal, whitespace};
use super::string;

/// Steps over one value of any kind, `at` its first byte. `depth` counts the containers around it.
pub(super) fn value(text: &str, at: usize, depth: usize) -> Result<usize, Reject> {
    let json = text.as_bytes();
    match json.get(at) {
        Some(b'"') => string::skip(text, at + 1),
        Some(b'{') => object(text, at, depth + 1),
        Some(b'[') => array(text, at, depth + 1),
        Some(b't') => literal(json, at, "true"),
        Some(b'f') => literal(json, at, "false"),
        Some(b'n') => literal(json, at, "null"),
        Some(b'-' | b'0'..=b'9') => number::skip(json, at),
        _ => Err(Reject::syntax(at, "a value")),
    }
}

fn object(text: &str, at: usize, depth: usize) -> Result<usize, Reject> {
    if depth > MAX_DEPTH {
        return Err(Reject::too_deep(at));
    }
    let json = text.as_bytes();
    let mut at = whitespace(json, at + 1);
    if json.get(at) == Some(&b'}') {
        return Ok(at + 1);
    }
    loop {
        if json.get(at) != Some(&b'"') {
            return Err(Reject::syntax(at, "a field name"));
        }
        at = colon(json, string::skip(text, at + 1)?)?;
        at = whitespace(json, value(text, at, depth)?);
        match json.get(at) {
            Some(b',') => at = whitespace(json, at + 1),
            Some(b'}') => return Ok(at + 1),
            _ => return Err(Reject::syntax(at, "',' or '}'")),
        }
    }
}

fn array(text: &str, at: usize, depth: usize) -> Result<usize, Reject> {
    if depth > MAX_DEPTH {
        return Err(Reject::too_deep(at));
    }
    let json = text.as_bytes();
    let mut at = whitespace(json, at + 1);
    if json.get(at) == Some(&b']') {
        return Ok(at + 1);
    }
    loop {
        at = whitespace(json, value(text, at, depth)?);
        match json.get(at) {
            Some(b',') => at = whitespace(json, at + 1),
            Some(b']') => return Ok(at + 1),
            _ => return Err(Reject::syntax(at, "',' or ']'")),
        }
    }
}
