//! Group keys: from key columns to dense group numbers and back.
//!
//! One string column, the common case, is kept as its bytes; anything else is encoded by Arrow's
//! row format. Either way a key is a byte string in one arena and a group is its position there.
//! A batch is hashed as a whole before the table is probed, so that the cache misses of several
//! probes overlap: at 200,000 keys that is worth a factor of two.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;
use arrow_row::{RowConverter, Rows, SortField};
use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Encodes and decodes the key columns of one output.
pub(super) struct KeyCodec {
    layout: Layout,
    hasher: RandomState,
}

enum Layout {
    Nothing,
    OneString,
    Encoded(RowConverter),
}

/// The keys of a batch, ready to be looked up.
pub(super) struct Keys {
    values: KeyValues,
    hashes: Vec<u64>,
}

enum KeyValues {
    Nothing(usize),
    OneString(StringArray),
    Encoded(Rows),
}

impl KeyCodec {
    pub(super) fn new(fields: &[FieldRef]) -> Result<Self, ArrowError> {
        let layout = match fields {
            [] => Layout::Nothing,
            [field] if *field.data_type() == DataType::Utf8 => Layout::OneString,
            fields => {
                let sort = fields.iter().map(|f| SortField::new(f.data_type().clone()));
                Layout::Encoded(RowConverter::new(sort.collect())?)
            }
        };
        Ok(Self {
            layout,
            hasher: RandomState::default(),
        })
    }

    /// Encodes and hashes key columns of `rows` rows.
    pub(super) fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<Keys, ArrowError> {
        let (values, hashes) = match &self.layout {
            Layout::Nothing => (KeyValues::Nothing(rows), Vec::new()),
            Layout::OneString => {
                let array = columns[0].as_string::<i32>().clone();
                let (data, ends) = (array.value_data(), array.value_offsets());
                let hashes = ends
                    .windows(2)
                    .map(|w| self.hasher.hash_one(&data[w[0] as usize..w[1] as usize]))
                    .collect();
                (KeyValues::OneString(array), hashes)
            }
            Layout::Encoded(converter) => {
                let encoded = converter.convert_columns(columns)?;
                let hashes = encoded
                    .iter()
                    .map(|row| self.hasher.hash_one(row.data()))
                    .collect();
                (KeyValues::Encoded(encoded), hashes)
            }
        };
        Ok(Keys { values, hashes })
    }

    /// The key columns of all groups, in group order.
    pub(super) fn decode(&self, groups: Groups) -> Result<Vec<ArrayRef>, ArrowError> {
        match &self.layout {
            Layout::Nothing => Ok(Vec::new()),
            Layout::OneString => Ok(vec![groups.into_strings()?]),
            Layout::Encoded(converter) => {
                let parser = converter.parser();
                let rows = (0..groups.len()).map(|g| parser.parse(groups.key(g)));
                converter.convert_rows(rows)
            }
        }
    }
}

/// The distinct keys seen so far, numbered from 0 in order of appearance.
pub(super) struct Groups {
    table: HashTable<Slot>,
    bytes: Vec<u8>,
    /// End of each group's key in `bytes`.
    ends: Vec<usize>,
    /// The group of the null string.
    null: Option<usize>,
    /// Hash of each group's key, so that the table grows without reading the keys.
    hashes: Vec<u64>,
}

#[derive(Clone, Copy)]
struct Slot {
    /// Upper half of the hash: key bytes are only compared on a true match.
    tag: u32,
    group: u32,
}

impl Groups {
    pub(super) fn new() -> Self {
        Self {
            table: HashTable::new(),
            bytes: Vec::new(),
            ends: Vec::new(),
            null: None,
            hashes: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
            + self.ends.capacity() * size_of::<usize>()
            + self.hashes.capacity() * size_of::<u64>()
            + self.table.allocation_size()
    }

    fn key(&self, group: usize) -> &[u8] {
        let start = if group == 0 { 0 } else { self.ends[group - 1] };
        &self.bytes[start..self.ends[group]]
    }

    /// Numbers the keys at `selection` (all of them if `None`); one group a key, into `out`.
    pub(super) fn intern(&mut self, keys: &Keys, selection: Option<&[u32]>, out: &mut Vec<usize>) {
        out.clear();
        match &keys.values {
            KeyValues::Nothing(rows) => {
                if self.ends.is_empty() {
                    self.push(&[], 0);
                }
                out.resize(selection.map_or(*rows, <[u32]>::len), 0);
            }
            KeyValues::OneString(array) => {
                let (data, ends) = (array.value_data(), array.value_offsets());
                let nulls = array.nulls();
                let mut one = |i: usize| {
                    if nulls.is_some_and(|n| n.is_null(i)) {
                        return self.intern_null();
                    }
                    self.intern_one(
                        &data[ends[i] as usize..ends[i + 1] as usize],
                        keys.hashes[i],
                    )
                };
                match selection {
                    None => out.extend((0..array.len()).map(&mut one)),
                    Some(rows) => out.extend(rows.iter().map(|&i| one(i as usize))),
                }
            }
            KeyValues::Encoded(rows) => {
                let mut one = |i: usize| self.intern_one(rows.row(i).data(), keys.hashes[i]);
                match selection {
                    None => out.extend((0..rows.num_rows()).map(&mut one)),
                    Some(picked) => out.extend(picked.iter().map(|&i| one(i as usize))),
                }
            }
        }
    }

    #[inline]
    fn intern_one(&mut self, key: &[u8], hash: u64) -> usize {
        let tag = (hash >> 32) as u32;
        let found = self.table.find(hash, |slot| {
            slot.tag == tag && self.key(slot.group as usize) == key
        });
        match found {
            Some(slot) => slot.group as usize,
            None => self.insert(key, hash),
        }
    }

    #[cold]
    fn insert(&mut self, key: &[u8], hash: u64) -> usize {
        let group = self.push(key, hash);
        let slot = Slot {
            tag: (hash >> 32) as u32,
            group: group as u32,
        };
        let hashes = &self.hashes;
        self.table
            .insert_unique(hash, slot, |slot| hashes[slot.group as usize]);
        group
    }

    fn intern_null(&mut self) -> usize {
        if let Some(group) = self.null {
            return group;
        }
        let group = self.push(&[], 0);
        self.null = Some(group);
        group
    }

    fn push(&mut self, key: &[u8], hash: u64) -> usize {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
        self.hashes.push(hash);
        self.ends.len() - 1
    }

    fn into_strings(self) -> Result<ArrayRef, ArrowError> {
        let count = self.len();
        let mut offsets = Vec::with_capacity(count + 1);
        offsets.push(0_i32);
        for &end in &self.ends {
            let end = i32::try_from(end).map_err(|_| ArrowError::OffsetOverflowError(end))?;
            offsets.push(end);
        }
        let nulls = self
            .null
            .map(|null| NullBuffer::new(BooleanBuffer::collect_bool(count, |group| group != null)));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let strings = StringArray::try_new(offsets, Buffer::from_vec(self.bytes), nulls)?;
        Ok(Arc::new(strings))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::array::{Float64Array, Int64Array};
    use arrow::datatypes::Field;
    use proptest::prelude::*;

    use super::*;

    fn field(ty: DataType) -> FieldRef {
        Arc::new(Field::new("k", ty, true))
    }

    fn round_trip(fields: &[FieldRef], columns: &[ArrayRef]) -> (Vec<usize>, Vec<ArrayRef>) {
        let codec = KeyCodec::new(fields).unwrap();
        let rows = columns.first().map_or(3, |c| c.len());
        let keys = codec.encode(columns, rows).unwrap();
        let (mut groups, mut out) = (Groups::new(), Vec::new());
        groups.intern(&keys, None, &mut out);
        (out, codec.decode(groups).unwrap())
    }

    #[test]
    fn without_keys_there_is_one_group() {
        let (ids, columns) = round_trip(&[], &[]);
        assert_eq!((ids, columns.len()), (vec![0, 0, 0], 0));
    }

    #[test]
    fn null_and_the_empty_string_are_different_groups() {
        let column: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None, Some(""), None]));
        let (ids, columns) = round_trip(&[field(DataType::Utf8)], &[column]);
        assert_eq!(ids, vec![0, 1, 0, 1]);
        assert_eq!(
            columns[0].as_string::<i32>().iter().collect::<Vec<_>>(),
            [Some(""), None]
        );
    }

    #[test]
    fn several_columns_group_by_all_of_them() {
        let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(1), None, Some(1)]));
        let b: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 1.5, 0.5, 0.5]));
        let fields = [field(DataType::Int64), field(DataType::Float64)];
        let (ids, columns) = round_trip(&fields, &[a, b]);
        assert_eq!(ids, vec![0, 1, 2, 0]);
        assert!(columns[0].is_null(2));
    }

    proptest! {
        #[test]
        fn interning_agrees_with_a_map(
            words in prop::collection::vec(prop::option::of("[a-c]{0,3}"), 0..300),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..50),
        ) {
            let array: ArrayRef = Arc::new(StringArray::from(words.clone()));
            let codec = KeyCodec::new(&[field(DataType::Utf8)]).unwrap();
            let keys = codec.encode(&[array], words.len()).unwrap();
            let picks: Vec<u32> = picks.iter().filter(|_| !words.is_empty()).map(|i| i.index(words.len()) as u32).collect();
            let (mut groups, mut first, mut second) = (Groups::new(), Vec::new(), Vec::new());
            groups.intern(&keys, Some(&picks), &mut first);
            groups.intern(&keys, None, &mut second);
            let mut model: HashMap<Option<String>, usize> = HashMap::new();
            let mut number = |w: &Option<String>| { let n = model.len(); *model.entry(w.clone()).or_insert(n) };
            let expected_first: Vec<usize> = picks.iter().map(|&i| number(&words[i as usize])).collect();
            let expected_second: Vec<usize> = words.iter().map(&mut number).collect();
            prop_assert_eq!(first, expected_first);
            prop_assert_eq!(second, expected_second);
            let decoded = codec.decode(groups).unwrap();
            for (group, word) in decoded[0].as_string::<i32>().iter().enumerate() {
                prop_assert_eq!(model[&word.map(str::to_owned)], group);
            }
        }
    }
}
