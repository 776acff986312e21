//! A source in memory, which a test fills while a pipeline reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use floodmark_pipeline::{OnLostPosition, Start};

use crate::source::{Connector, PartitionEvent, RawRecord, Reader, SourceError};
use crate::units::{Offset, Partition};

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that panicked reports that itself.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What stands in the source: the test's end. Clones are the same source.
#[derive(Clone)]
pub struct MemorySource {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    topic: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    partitions: BTreeMap<Partition, Log>,
    reachable: bool,
    shown: BTreeMap<Partition, Offset>,
}

/// One partition.
#[derive(Default)]
struct Log {
    records: BTreeMap<Offset, Record>,
    low: i64,
    high: i64,
    ended: bool,
}

#[derive(Clone)]
struct Record {
    timestamp_ms: i64,
    key: Option<Arc<[u8]>>,
    value: Option<Arc<[u8]>>,
}

impl MemorySource {
    /// A reachable source with so many empty partitions.
    pub fn new(source_name: &str, topic: &str, partitions: i32) -> Self {
        let partitions = (0..partitions).map(|number| (Partition(number), Log::default()));
        let state = State {
            partitions: partitions.collect(),
            reachable: true,
            shown: BTreeMap::new(),
        };
        Self {
            shared: Arc::new(Shared {
                name: source_name.to_owned(),
                topic: topic.to_owned(),
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
        }
    }

    /// A connector as a pipeline would open it.
    pub fn connector(&self, start: Start, on_lost_position: OnLostPosition) -> MemoryConnector {
        MemoryConnector {
            source: self.clone(),
            start,
            on_lost_position,
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut lock(&self.shared.state));
        self.shared.changed.notify_all();
        changed
    }

    fn change_log<T>(&self, partition: Partition, change: impl FnOnce(&mut Log) -> T) -> T {
        self.change(|state| {
            let log = state.partitions.get_mut(&partition);
            change(log.expect("a test names partitions that it made"))
        })
    }

    /// Appends a record; returns its offset.
    pub fn append(
        &self,
        partition: Partition,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Offset {
        self.change_log(partition, |log| {
            assert!(!log.ended, "partition {partition} has ended");
            let offset = Offset(log.high);
            let record = Record {
                timestamp_ms,
                key: key.map(Arc::from),
                value: value.map(Arc::from),
            };
            log.records.insert(offset, record);
            log.high += 1;
            offset
        })
    }

    /// Appends a record that is nothing but a value.
    pub fn append_value(&self, partition: Partition, value: &[u8]) -> Offset {
        self.append(partition, -1, None, Some(value))
    }

    /// Leaves offsets out, as transaction markers and compaction do.
    pub fn leave_gap(&self, partition: Partition, offsets: i64) {
        self.change_log(partition, |log| log.high += offsets);
    }

    /// Removes the records below an offset, as retention does.
    pub fn remove_below(&self, partition: Partition, low: Offset) {
        self.change_log(partition, |log| {
            log.low = low.0.clamp(log.low, log.high);
            log.records = log.records.split_off(&Offset(log.low));
        });
    }

    /// Says that nothing will be appended to a partition any more.
    pub fn end(&self, partition: Partition) {
        self.change_log(partition, |log| log.ended = true);
    }

    /// Adds an empty partition.
    pub fn add_partition(&self) -> Partition {
        self.change(|state| {
            let last = state.partitions.last_key_value();
            let partition = Partition(last.map_or(0, |(last, _)| last.0 + 1));
            state.partitions.insert(partition, Log::default());
            partition
        })
    }

    /// Makes every question fail, and readers wait for records in vain; or ends that.
    pub fn set_reachable(&self, reachable: bool) {
        self.change(|state| state.reachable = reachable);
    }

    /// The positions that were shown last, for each partition.
    pub fn shown(&self) -> BTreeMap<Partition, Offset> {
        lock(&self.shared.state).shown.clone()
    }
}

/// Reads a [`MemorySource`]: the pipeline's end.
pub struct MemoryConnector {
    source: MemorySource,
    start: Start,
    on_lost_position: OnLostPosition,
}

impl MemoryConnector {
    /// The state, if it can be reached.
    fn ask(&self, what: &str) -> Result<MutexGuard<'_, State>, SourceError> {
        let shared = &self.source.shared;
        let state = lock(&shared.state);
        if state.reachable {
            return Ok(state);
        }
        Err(SourceError::Failed {
            attempted: format!("source '{}': {what}", shared.name),
            reason: "the source is unreachable".to_owned(),
        })
    }

    /// An offset of each partition.
    fn each(
        &self,
        partitions: &[Partition],
        what: &str,
        offset: impl Fn(&Log) -> i64,
    ) -> Result<Vec<(Partition, Offset)>, SourceError> {
        let state = self.ask(what)?;
        let each = partitions
            .iter()
            .map(|partition| match state.partitions.get(partition) {
                Some(log) => Ok((*partition, Offset(offset(log)))),
                None => Err(unknown(&self.source.shared.name, *partition)),
            });
        each.collect()
    }
}

fn unknown(source_name: &str, partition: Partition) -> SourceError {
    SourceError::Misconfigured {
        attempted: format!("source '{source_name}': reading partition {partition}"),
        reason: "there is no such partition".to_owned(),
        hint: "Start with a new checkpoint path".to_owned(),
    }
}

impl Connector for MemoryConnector {
    fn origin(&self) -> String {
        format!("memory '{}'", self.source.shared.topic)
    }

    fn topic(&self, _partition: Partition) -> String {
        self.source.shared.topic.clone()
    }

    fn partitions(&self) -> Result<Vec<Partition>, SourceError> {
        Ok(self
            .ask("listing partitions")?
            .partitions
            .keys()
            .copied()
            .collect())
    }

    fn start(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Offset)>, SourceError> {
        self.each(partitions, "finding the start", |log| match self.start {
            Start::Earliest => log.low,
            Start::Latest => log.high,
            Start::Timestamp(ms) => {
                let first = log
                    .records
                    .iter()
                    .find(|(_, record)| record.timestamp_ms >= ms);
                first.map_or(log.high, |(offset, _)| offset.0)
            }
        })
    }

    fn start_of_new(
        &self,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, Offset)>, SourceError> {
        self.each(partitions, "finding the start", |log| log.low)
    }

    fn resume(
        &self,
        positions: &[(Partition, Offset)],
    ) -> Result<Vec<(Partition, Offset)>, SourceError> {
        let state = self.ask("finding positions")?;
        let name = &self.source.shared.name;
        let resumed = positions.iter().map(|(partition, next)| {
            let log = state
                .partitions
                .get(partition)
                .ok_or_else(|| unknown(name, *partition))?;
            if (log.low..=log.high).contains(&next.0) {
                Ok((*partition, *next))
            } else if self.on_lost_position == OnLostPosition::Earliest {
                Ok((*partition, Offset(log.low)))
            } else {
                Err(lost(name, *partition, *next, log))
            }
        });
        resumed.collect()
    }

    fn ends(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Offset)>, SourceError> {
        self.each(partitions, "finding the ends", |log| log.high)
    }

    fn reader(&self, positions: &[(Partition, Offset)]) -> Result<Box<dyn Reader>, SourceError> {
        let mut reader = MemoryReader {
            shared: Arc::clone(&self.source.shared),
            positions: BTreeMap::new(),
            first: Partition(0),
        };
        reader.assign(positions)?;
        Ok(Box::new(reader))
    }

    fn show_positions(&self, positions: &[(Partition, Offset)]) -> Result<(), SourceError> {
        self.ask("showing positions")?
            .shown
            .extend(positions.iter().copied());
        Ok(())
    }
}

fn lost(source_name: &str, partition: Partition, wanted: Offset, log: &Log) -> SourceError {
    SourceError::LostPosition {
        source_name: source_name.to_owned(),
        partition,
        wanted,
        low: Offset(log.low),
        high: Offset(log.high),
    }
}

struct MemoryReader {
    shared: Arc<Shared>,
    positions: BTreeMap<Partition, Position>,
    /// The partition whose turn is first.
    first: Partition,
}

struct Position {
    next: Offset,
    caught_up: bool,
    ended: bool,
}

/// What a poll takes, owned: the source may change while the records are looked at.
type Taken = Vec<(Partition, Offset, Record)>;

impl MemoryReader {
    /// Takes what there is, from each partition in turn.
    fn take(
        &mut self,
        state: &State,
        max: usize,
    ) -> Result<(Taken, Vec<PartitionEvent>), SourceError> {
        let (mut taken, mut events) = (Taken::new(), Vec::new());
        if !state.reachable {
            return Ok((taken, events));
        }
        let mut order: Vec<Partition> = self.positions.keys().copied().collect();
        let turned = order.partition_point(|partition| *partition < self.first);
        order.rotate_left(turned);
        for partition in order {
            let (Some(at), Some(log)) = (
                self.positions.get_mut(&partition),
                state.partitions.get(&partition),
            ) else {
                return Err(unknown(&self.shared.name, partition));
            };
            if !(log.low..=log.high).contains(&at.next.0) {
                return Err(lost(&self.shared.name, partition, at.next, log));
            }
            let room = max.saturating_sub(taken.len());
            for (offset, record) in log.records.range(at.next..).take(room) {
                taken.push((partition, *offset, record.clone()));
                at.next = Offset(offset.0 + 1);
                at.caught_up = false;
            }
            if log.records.range(at.next..).next().is_some() {
                self.first = Partition(partition.0.wrapping_add(1));
                break;
            }
            if !at.caught_up || at.next.0 < log.high {
                (at.next, at.caught_up) = (Offset(log.high), true);
                events.push(PartitionEvent::CaughtUp {
                    partition,
                    next: at.next,
                });
            }
            if log.ended && !at.ended {
                at.ended = true;
                events.push(PartitionEvent::Ended { partition });
            }
        }
        Ok((taken, events))
    }
}

impl Reader for MemoryReader {
    fn poll(
        &mut self,
        timeout: Duration,
        max: usize,
        on_records: &mut dyn FnMut(&[RawRecord<'_>]),
    ) -> Result<Vec<PartitionEvent>, SourceError> {
        let shared = Arc::clone(&self.shared);
        let mut state = lock(&shared.state);
        let (mut taken, mut events) = self.take(&state, max.max(1))?;
        if taken.is_empty() && events.is_empty() {
            let waited = shared.changed.wait_timeout(state, timeout);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            (taken, events) = self.take(&state, max.max(1))?;
        }
        drop(state);
        if !taken.is_empty() {
            let records: Vec<RawRecord<'_>> = taken
                .iter()
                .map(|(partition, offset, record)| RawRecord {
                    partition: *partition,
                    offset: *offset,
                    timestamp_ms: record.timestamp_ms,
                    key: record.key.as_deref(),
                    value: record.value.as_deref(),
                })
                .collect();
            on_records(&records);
        }
        Ok(events)
    }

    fn assign(&mut self, partitions: &[(Partition, Offset)]) -> Result<(), SourceError> {
        for (partition, next) in partitions {
            let position = Position {
                next: *next,
                caught_up: false,
                ended: false,
            };
            self.positions.insert(*partition, position);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
