//! An object with known fields: the record itself, or a `STRUCT` inside it.
//!
//! Producers write the same fields in the same order, record after record. So each field
//! remembers which one followed it last time, and the next key is first compared with that one's
//! bytes, quotes and colon included: no hashing, no search for the key's end. Only when the
//! comparison fails is the key read and looked up.

use arrow::array::ArrayRef;
use arrow::datatypes::Fields;
use arrow::error::ArrowError;
use floodmark_pipeline::{Column, SqlType, TimestampFormat};
use hashbrown::HashMap;

use super::node::{Node, Scratch};
use super::reject::Reject;
use super::{MAX_DEPTH, scan, schema, skip, string};

/// Index of "no known field".
const UNKNOWN: usize = usize::MAX;
/// Bytes of a key that are compared as two words.
const HEAD: usize = 16;

/// Columns by field name.
#[derive(Debug)]
pub(super) struct Object {
    fields: Vec<FieldReader>,
    schema: Fields,
    by_name: HashMap<Box<str>, usize, foldhash::fast::RandomState>,
    /// The field that came first last time.
    first: usize,
    /// Identifies the object being read; a field that carries it was read in this object.
    current: u64,
    rows: usize,
}

#[derive(Debug)]
struct FieldReader {
    key: Key,
    /// The field that followed this one last time.
    next: usize,
    /// `Object::current` of the object in which the field last had a value.
    seen_in: u64,
    required: bool,
    node: Node,
}

/// A field's name as it stands in a record: `"name":`.
#[derive(Debug)]
struct Key {
    head: [u64; 2],
    mask: [u64; 2],
    /// All of it; empty for a name that has to be escaped and so is never predicted.
    bytes: Box<[u8]>,
}

impl Key {
    fn new(name: &str) -> Self {
        let escaped = name
            .bytes()
            .any(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
        if escaped {
            // Sixteen NULs begin no key.
            return Self {
                head: [0; 2],
                mask: [u64::MAX; 2],
                bytes: Box::default(),
            };
        }
        let bytes = format!("\"{name}\":").into_bytes();
        let (mut head, mut mask) = ([0; HEAD], [0; HEAD]);
        for (at, &byte) in bytes.iter().take(HEAD).enumerate() {
            head[at] = byte;
            mask[at] = u8::MAX;
        }
        Self {
            head: words(&head),
            mask: words(&mask),
            bytes: bytes.into(),
        }
    }

    /// Whether the bytes at `at` are this key.
    #[inline(always)]
    fn matches(&self, json: &[u8], at: usize) -> bool {
        let Some(rest) = json.get(at..) else {
            return false;
        };
        let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else {
            return !self.bytes.is_empty() && rest.starts_with(&self.bytes);
        };
        let head = words(head);
        let differs =
            ((head[0] ^ self.head[0]) & self.mask[0]) | ((head[1] ^ self.head[1]) & self.mask[1]);
        let tail = self.bytes.get(HEAD..).unwrap_or_default();
        differs == 0 && (tail.is_empty() || rest.starts_with(tail))
    }
}

#[inline(always)]
fn words(bytes: &[u8; HEAD]) -> [u64; 2] {
    let value = u128::from_le_bytes(*bytes);
    [value as u64, (value >> 64) as u64]
}

impl Object {
    /// The record itself.
    pub(super) fn of_columns(columns: &[Column], rows: usize) -> Self {
        let nodes = columns.iter().map(|column| {
            let node = Node::new(&column.name, &column.ty, column.timestamp_format, rows);
            (column.name.as_str(), !column.nullable, node)
        });
        Self::new(
            nodes.collect(),
            schema::arrow_schema(columns).fields().clone(),
        )
    }

    /// A struct at `path`, whose fields are all nullable.
    pub(super) fn of_struct(
        path: &str,
        fields: &[(String, SqlType)],
        format: TimestampFormat,
        rows: usize,
    ) -> Self {
        let nodes = fields.iter().map(|(name, ty)| {
            (
                name.as_str(),
                false,
                Node::new(&format!("{path}.{name}"), ty, format, rows),
            )
        });
        Self::new(nodes.collect(), schema::struct_fields(fields))
    }

    fn new(nodes: Vec<(&str, bool, Node)>, schema: Fields) -> Self {
        let by_name = nodes
            .iter()
            .enumerate()
            .map(|(i, (name, ..))| ((*name).into(), i))
            .collect();
        let reader = |(index, (name, required, node))| FieldReader {
            key: Key::new(name),
            next: index + 1,
            seen_in: 0,
            required,
            node,
        };
        let fields = nodes.into_iter().enumerate().map(reader).collect();
        Self {
            fields,
            schema,
            by_name,
            first: 0,
            current: 0,
            rows: 0,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Reads an object as one row, `at` its brace; returns the index after it. `depth` counts the
    /// containers around its values. After an error columns may hold parts of the row.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        scratch: &mut Scratch,
        record: &str,
        at: usize,
        depth: usize,
    ) -> Result<usize, Reject> {
        if depth > MAX_DEPTH {
            return Err(Reject::too_deep(at));
        }
        let json = record.as_bytes();
        self.current += 1;
        let mut filled = 0;
        let mut previous = UNKNOWN;
        let mut at = scan::whitespace(json, at + 1);
        if json.get(at) == Some(&b'}') {
            self.end_row(filled)?;
            return Ok(at + 1);
        }
        loop {
            let (index, value_at) = self.key(scratch, record, at, previous)?;
            at = match self.fields.get_mut(index) {
                None => skip::value(record, value_at, depth)?,
                Some(field) => {
                    previous = index;
                    if field.seen_in == self.current {
                        field.forget(self.rows);
                        filled -= 1;
                    }
                    if json.get(value_at) == Some(&b'n') {
                        scan::literal(json, value_at, "null")?
                    } else {
                        field.seen_in = self.current;
                        filled += 1;
                        field.node.read(scratch, record, value_at, depth)?
                    }
                }
            };
            at = scan::whitespace(json, at);
            match json.get(at) {
                Some(b',') => at = scan::whitespace(json, at + 1),
                Some(b'}') => break,
                _ => return Err(Reject::syntax(at, "',' or '}'")),
            }
        }
        self.end_row(filled)?;
        Ok(at + 1)
    }

    /// Reads a key, its colon and the whitespace after it; returns the field and the value's place.
    #[inline(always)]
    fn key(
        &mut self,
        scratch: &mut Scratch,
        record: &str,
        at: usize,
        previous: usize,
    ) -> Result<(usize, usize), Reject> {
        let expected = self
            .fields
            .get(previous)
            .map_or(self.first, |field| field.next);
        if let Some(field) = self.fields.get(expected)
            && field.key.matches(record.as_bytes(), at)
        {
            return Ok((
                expected,
                scan::whitespace(record.as_bytes(), at + field.key.bytes.len()),
            ));
        }
        self.look_up(scratch, record, at, previous)
    }

    /// Reads a key that was not the expected one, and expects it next time if it is a column's.
    #[inline(never)]
    fn look_up(
        &mut self,
        scratch: &mut Scratch,
        record: &str,
        at: usize,
        previous: usize,
    ) -> Result<(usize, usize), Reject> {
        let json = record.as_bytes();
        if json.get(at) != Some(&b'"') {
            return Err(Reject::syntax(at, "a field name"));
        }
        let stop = scan::string_stop(json, at + 1);
        let (name, end) = if json.get(stop) == Some(&b'"') {
            (&record[at + 1..stop], stop + 1)
        } else {
            scratch.text.clear();
            let end = string::unescape(record, at + 1, &mut scratch.text)?;
            (scratch.text.as_str(), end)
        };
        let index = self.by_name.get(name).copied().unwrap_or(UNKNOWN);
        if index != UNKNOWN {
            match self.fields.get_mut(previous) {
                Some(field) => field.next = index,
                None => self.first = index,
            }
        }
        Ok((index, scan::colon(json, end)?))
    }

    /// Ends a row in which `filled` fields have a value.
    #[inline(always)]
    fn end_row(&mut self, filled: usize) -> Result<(), Reject> {
        if filled != self.fields.len() {
            self.fill()?;
        }
        self.rows += 1;
        Ok(())
    }

    /// Fields without a value, absent or null, become null where they may.
    fn fill(&mut self) -> Result<(), Reject> {
        for field in &mut self.fields {
            if field.seen_in != self.current {
                if field.required {
                    return Err(Reject::missing(field.node.label()));
                }
                field.node.push_null();
            }
        }
        Ok(())
    }

    /// Appends the row that stands under a null struct.
    pub(super) fn push_nulls(&mut self) {
        for field in &mut self.fields {
            field.node.push_null();
        }
        self.rows += 1;
    }

    /// Forgets all rows from the `rows`th on, and what was begun of the next.
    #[cold]
    pub(super) fn truncate(&mut self, rows: usize) {
        for field in &mut self.fields {
            field.node.truncate(rows);
        }
        self.rows = rows;
    }

    /// Takes all rows as columns.
    pub(super) fn finish(&mut self) -> Result<(Fields, Vec<ArrayRef>), ArrowError> {
        let arrays = self.fields.iter_mut().map(|field| field.node.finish());
        let arrays = arrays.collect::<Result<_, _>>()?;
        self.rows = 0;
        Ok((self.schema.clone(), arrays))
    }
}

impl FieldReader {
    /// Takes back the value of an earlier key of the same name: the last one wins.
    #[cold]
    fn forget(&mut self, rows: usize) {
        self.node.truncate(rows);
        self.seen_in = 0;
    }
}
