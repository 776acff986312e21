//! Many events in one place, so that whoever sends them is called once for thousands.

use std::ops::Range;

use crate::simulator::Simulator;
use crate::tally::Tally;

/// Records one after another, with their keys.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    keys: Vec<u8>,
    values: Vec<u8>,
    ends: Vec<Ends>,
}

/// Where a record's key ends, having begun where the one before it ended, and where its value lies.
#[derive(Debug, Clone)]
struct Ends {
    key: usize,
    value: Range<usize>,
}

impl Batch {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All values; of a simulation of lines each with its line's end.
    pub fn bytes(&self) -> &[u8] {
        &self.values
    }

    /// Key and value of every record, in order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let mut key_start = 0;
        self.ends.iter().map(move |ends| {
            let key = &self.keys[std::mem::replace(&mut key_start, ends.key)..ends.key];
            (key, &self.values[ends.value.clone()])
        })
    }
}

impl Simulator {
    /// Replaces the batch's content by the next events and counts them.
    pub fn fill(&mut self, batch: &mut Batch, events: usize, tally: &mut Tally) {
        batch.keys.clear();
        batch.values.clear();
        batch.ends.clear();
        batch.ends.reserve(events);
        for _ in 0..events {
            let start = batch.values.len();
            let info = self.next_event(&mut batch.values);
            let value = start..batch.values.len();
            tally.record(&info, value.len());
            batch.keys.extend_from_slice(self.key());
            batch.ends.push(Ends {
                key: batch.keys.len(),
                value,
            });
            if self.is_lines() {
                batch.values.push(b'\n');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn a_batch_holds_what_single_events_would_be() {
        for lines in [false, true] {
            let config = Config {
                bad: 0.2,
                lines,
                ..Config::default()
            };
            let mut single = Simulator::new(&config).unwrap();
            let mut many = single.clone();
            let (mut batch, mut tally) = (Batch::default(), Tally::default());
            let mut bytes = 0;
            for events in [1, 1_000, 0, 50] {
                many.fill(&mut batch, events, &mut tally);
                assert_eq!(batch.len(), events);
                for (key, value) in batch.records() {
                    let mut expected = Vec::new();
                    single.next_event(&mut expected);
                    assert_eq!((key, value), (single.key(), &expected[..]));
                    bytes += value.len() as u64;
                }
                let ends = batch.bytes().iter().filter(|byte| **byte == b'\n').count();
                assert_eq!(ends, if lines { events } else { 0 });
            }
            assert_eq!((tally.events, tally.bytes), (1_051, bytes));
        }
    }
}
