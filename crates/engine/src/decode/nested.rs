//! The insides of lists and maps.

use super::node::{Node, Scratch};
use super::reject::Reject;
use super::{MAX_DEPTH, scan};

/// Reads a list's elements, `at` its bracket.
pub(super) fn read_items(
    items: &mut Node,
    scratch: &mut Scratch,
    record: &str,
    at: usize,
    depth: usize,
) -> Result<usize, Reject> {
    if depth > MAX_DEPTH {
        return Err(Reject::too_deep(at));
    }
    let json = record.as_bytes();
    let mut at = scan::whitespace(json, at + 1);
    if json.get(at) == Some(&b']') {
        return Ok(at + 1);
    }
    loop {
        at = scan::whitespace(json, items.read_nullable(scratch, record, at, depth)?);
        match json.get(at) {
            Some(b',') => at = scan::whitespace(json, at + 1),
            Some(b']') => return Ok(at + 1),
            _ => return Err(Reject::syntax(at, "',' or ']'")),
        }
    }
}

/// Reads a map's entries, `at` its brace. Like Spark's, a map keeps every entry in order, also
/// those whose keys are equal.
pub(super) fn read_entries(
    keys: &mut Node,
    values: &mut Node,
    scratch: &mut Scratch,
    record: &str,
    at: usize,
    depth: usize,
) -> Result<usize, Reject> {
    if depth > MAX_DEPTH {
        return Err(Reject::too_deep(at));
    }
    let json = record.as_bytes();
    let mut at = scan::whitespace(json, at + 1);
    if json.get(at) == Some(&b'}') {
        return Ok(at + 1);
    }
    loop {
        if json.get(at) != Some(&b'"') {
            return Err(Reject::syntax(at, "a field name"));
        }
        at = scan::colon(json, keys.read(scratch, record, at, depth)?)?;
        at = scan::whitespace(json, values.read_nullable(scratch, record, at, depth)?);
        match json.get(at) {
            Some(b',') => at = scan::whitespace(json, at + 1),
            Some(b'}') => return Ok(at + 1),
            _ => return Err(Reject::syntax(at, "',' or '}'")),
        }
    }
}
