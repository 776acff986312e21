//! Reads many files in turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::tail::{Harvest, Look, Tail, Turn};
use super::{Catalogue, LastLine};
use crate::clock::Clock;
use crate::source::slices::recycle;
use crate::source::{PartitionEvent, RawRecord, Reader, SourceError};
use crate::units::{Offset, Partition};

/// Bytes that one poll reads before it hands over what it has.
const POLL_BYTES: u64 = 8 << 20;

/// Files open at once. The others wait until one of these has been read to its end.
const MAX_OPEN: usize = 64;

/// Time between looks at a file that had been read to its end ...
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// ... and for each such file so much longer, so that looking at very many stays cheap.
const LOOK_PER_FILE: Duration = Duration::from_micros(100);

/// A harvest that grew beyond this for a giant line is given back.
const KEEP_BYTES: usize = 4 * POLL_BYTES as usize;

/// Reads some of a source's files.
pub(super) struct FileReader {
    catalogue: Arc<Catalogue>,
    last_line: LastLine,
    clock: Arc<dyn Clock>,
    /// Files being read, in the order of their turns.
    busy: VecDeque<Tail>,
    /// Files that have something to read but wait for others to be done.
    waiting: VecDeque<Tail>,
    /// Plain files read to their end, and when to look at each again, soonest first.
    at_end: VecDeque<(Duration, Tail)>,
    harvest: Harvest,
    /// Empty between polls; keeps its allocation.
    records: Vec<RawRecord<'static>>,
}

impl FileReader {
    pub(super) fn new(
        catalogue: Arc<Catalogue>,
        last_line: LastLine,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            catalogue,
            last_line,
            clock,
            busy: VecDeque::new(),
            waiting: VecDeque::new(),
            at_end: VecDeque::new(),
            harvest: Harvest::default(),
            records: Vec::new(),
        }
    }

    /// Looks at the files that had been read to their end and are due.
    fn look(&mut self, now: Duration, events: &mut Vec<PartitionEvent>) -> Result<(), SourceError> {
        while let Some((due, mut tail)) = self.at_end.pop_front() {
            if due > now || self.harvest.is_full() {
                self.at_end.push_front((due, tail));
                break;
            }
            let before = tail.next();
            let look = tail.look(&mut self.harvest, self.last_line, now, &self.catalogue)?;
            if look != Look::Grown && tail.next() != before {
                events.push(caught_up(&tail));
            }
            match look {
                Look::Grown => self.waiting.push_back(tail),
                Look::Same => self.at_end.push_back((self.next_look(now), tail)),
                Look::Ended => events.push(PartitionEvent::Ended {
                    partition: tail.partition(),
                }),
            }
        }
        Ok(())
    }

    fn next_look(&self, now: Duration) -> Duration {
        now + LOOK_EVERY + LOOK_PER_FILE * self.at_end.len() as u32
    }

    /// Gives the files their turns until the harvest is full, enough bytes were read, or all files
    /// stand at their ends. Returns the number of bytes.
    fn read(
        &mut self,
        now: Duration,
        events: &mut Vec<PartitionEvent>,
    ) -> Result<u64, SourceError> {
        let mut spent = 0;
        while spent < POLL_BYTES && !self.harvest.is_full() {
            while self.busy.len() < MAX_OPEN
                && let Some(tail) = self.waiting.pop_front()
            {
                self.busy.push_back(tail);
            }
            let Some(mut tail) = self.busy.pop_front() else {
                break;
            };
            match tail.turn(&mut self.harvest, now, &self.catalogue)? {
                // It holds more than this harvest takes: it comes first in the next.
                Turn::Full => self.busy.push_front(tail),
                Turn::More(bytes) => {
                    spent += bytes;
                    self.busy.push_back(tail);
                }
                Turn::AtEnd => {
                    events.push(caught_up(&tail));
                    self.at_end.push_back((self.next_look(now), tail));
                }
                Turn::Ended => {
                    events.push(caught_up(&tail));
                    events.push(PartitionEvent::Ended {
                        partition: tail.partition(),
                    });
                }
            }
        }
        Ok(spent)
    }

    fn hand_over(&mut self, on_records: &mut dyn FnMut(&[RawRecord<'_>])) {
        let bytes = &self.harvest.bytes;
        let mut records = std::mem::take(&mut self.records);
        records.extend(self.harvest.lines.iter().map(|line| RawRecord {
            partition: line.partition,
            offset: line.offset,
            timestamp_ms: -1,
            key: None,
            value: Some(&bytes[line.start..line.end]),
        }));
        on_records(&records);
        self.records = recycle(records);
        if self.harvest.bytes.capacity() > KEEP_BYTES {
            self.harvest = Harvest::default();
        }
    }
}

impl Reader for FileReader {
    fn poll(
        &mut self,
        timeout: Duration,
        max: usize,
        on_records: &mut dyn FnMut(&[RawRecord<'_>]),
    ) -> Result<Vec<PartitionEvent>, SourceError> {
        let now = self.clock.monotonic();
        let mut events = Vec::new();
        self.harvest.clear(max.max(1));
        self.look(now, &mut events)?;
        let spent = self.read(now, &mut events)?;
        if !self.harvest.lines.is_empty() {
            self.hand_over(on_records);
        } else if spent == 0 && events.is_empty() {
            // A file system wakes nobody up: whatever is appended waits for the next look.
            std::thread::park_timeout(timeout);
        }
        Ok(events)
    }

    fn assign(&mut self, partitions: &[(Partition, Offset)]) -> Result<(), SourceError> {
        for (partition, next) in partitions {
            let path = self.catalogue.path(*partition)?;
            // There is nothing before the first byte.
            let next = u64::try_from(next.0).unwrap_or(0);
            self.waiting.push_back(Tail::new(*partition, path, next));
        }
        Ok(())
    }
}

fn caught_up(tail: &Tail) -> PartitionEvent {
    PartitionEvent::CaughtUp {
        partition: tail.partition(),
        next: tail.next(),
    }
}
