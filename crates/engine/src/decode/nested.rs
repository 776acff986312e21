//! Lists, structs and maps.

use super::column::Values;
use super::node::{Node, Scratch};
use super::reject::Reject;
use super::{MAX_DEPTH, scan};

/// Reads a container into a column, `at` its bracket or brace. `depth` counts the containers
/// around it.
pub(super) fn read(
    values: &mut Values,
    scratch: &mut Scratch,
    record: &str,
    at: usize,
    depth: usize,
) -> Result<usize, Reject> {
    match (values, record.as_bytes().get(at)) {
        (Values::List { offsets, items, .. }, Some(b'[')) => {
            let end = read_items(items, scratch, record, at, depth + 1)?;
            offsets.push(items.len());
            Ok(end)
        }
        (Values::Struct(object), Some(b'{')) => object.read(scratch, record, at, depth + 1),
        (
            Values::Map {
                offsets,
                keys,
                values,
                ..
            },
            Some(b'{'),
        ) => {
            let end = read_entries(keys, values, scratch, record, at, depth + 1)?;
            offsets.push(keys.len());
            Ok(end)
        }
        (_, first) => Err(Reject::wrong_type(at, first)),
    }
}

/// Reads a list's elements, `at` its bracket.
fn read_items(
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
fn read_entries(
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
