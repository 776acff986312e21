//! The list of borrowed records that a reader hands over, its allocation kept between polls.

use super::RawRecord;

/// An empty list in the allocation of `records`: borrows nothing, so that a reader can keep it.
#[expect(
    clippy::unnecessary_filter_map,
    reason = "a filter could not change the lifetime"
)]
pub(crate) fn recycle(mut records: Vec<RawRecord<'_>>) -> Vec<RawRecord<'static>> {
    records.clear();
    // Collecting from a vector's own iterator reuses its allocation.
    records.into_iter().filter_map(|_| None).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Offset, Partition};

    #[test]
    fn the_allocation_is_kept() {
        let value = b"bytes".to_vec();
        let record = RawRecord {
            partition: Partition(0),
            offset: Offset(0),
            timestamp_ms: -1,
            key: None,
            value: Some(&value),
        };
        let records = vec![record; 100];
        let (place, capacity) = (records.as_ptr().addr(), records.capacity());
        let kept = recycle(records);
        assert_eq!((kept.as_ptr().addr(), kept.capacity()), (place, capacity));
    }
}
