//! The one place of the decoder that asks Arrow to trust it: text columns.
//!
//! Each record is checked for UTF-8 once, as a whole, before anything of it is read. Arrow's safe
//! constructor would check every column's text and offsets again. [`Utf8Values`] makes the second
//! check needless by construction: its bytes are private to this module and grow only by whole
//! `&str`s, and its offsets are lengths it had between two of them.

#![allow(unsafe_code)]

use arrow::array::StringArray;
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

/// Longest text that is copied as a fixed block, which spares a call into `memcpy`.
const BLOCK: usize = 16;

/// The values of a text column.
#[derive(Debug)]
pub(super) struct Utf8Values {
    /// Concatenated values: always a sequence of whole `&str`s, cut at `offsets`.
    bytes: Vec<u8>,
    /// End of each value, after a leading zero; ascending, each a length `bytes` had after a push.
    offsets: Vec<i32>,
}

impl Utf8Values {
    pub(super) fn new(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            bytes: Vec::with_capacity(bytes),
            offsets,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Appends `record[start..end]`.
    #[inline(always)]
    pub(super) fn push_part(&mut self, record: &str, start: usize, end: usize) {
        let part = &record[start..end];
        match record.as_bytes()[start..].first_chunk::<BLOCK>() {
            Some(block) if part.len() <= BLOCK => {
                let len = self.bytes.len() + part.len();
                self.bytes.extend_from_slice(block);
                self.bytes.truncate(len);
            }
            _ => self.bytes.extend_from_slice(part.as_bytes()),
        }
        self.end_value();
    }

    pub(super) fn push(&mut self, value: &str) {
        self.bytes.extend_from_slice(value.as_bytes());
        self.end_value();
    }

    /// The caller keeps a batch's bytes below `i32::MAX`; a value that would pass it is cut to
    /// nothing rather than wrap, so that the offsets ascend whatever happens.
    #[inline(always)]
    fn end_value(&mut self) {
        if let Ok(end) = i32::try_from(self.bytes.len()) {
            self.offsets.push(end);
        } else {
            self.drop_tail();
        }
    }

    #[cold]
    fn drop_tail(&mut self) {
        let end = self.last_offset();
        self.bytes.truncate(end as usize);
        self.offsets.push(end);
    }

    fn last_offset(&self) -> i32 {
        self.offsets.last().copied().unwrap_or_default()
    }

    /// Forgets all values from the `rows`th on, and bytes of a value that was not finished.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.bytes.truncate(self.last_offset() as usize);
    }

    /// Takes the values as an array and makes room for as many again.
    pub(super) fn finish(&mut self, nulls: Option<NullBuffer>) -> StringArray {
        let next = Self::new(self.len(), self.bytes.len() + self.bytes.len() / 8);
        let Self { bytes, offsets } = std::mem::replace(self, next);
        debug_assert_eq!(offsets.last().map(|&end| end as usize), Some(bytes.len()));
        if nulls
            .as_ref()
            .is_some_and(|nulls| nulls.len() != offsets.len() - 1)
        {
            debug_assert!(false, "one null bit a value");
            return StringArray::new_null(offsets.len() - 1);
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        // SAFETY: `StringArray::try_new` checks four things. The offsets ascend from zero: checked
        // by `OffsetBuffer::new`. The last one is at most the values' length: `bytes` is cut to it
        // in `truncate` and `drop_tail`, and pushed from it in `end_value`. The values are UTF-8
        // and each offset a character boundary: `bytes` is a concatenation of `&str`s, and each
        // offset its length between two of them. The nulls' length is checked above.
        unsafe { StringArray::new_unchecked(offsets, Buffer::from_vec(bytes), nulls) }
    }
}
