//! Random histories against a model that keeps every batch and computes everything from all of them.

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const SMALL_SEGMENTS: LogLimits = LogLimits {
    segment_bytes: 400,
    ..LIMITS
};

/// When all markers are written.
const MARKED_AT: i64 = 3;

#[derive(Debug, Clone)]
enum Step {
    Produce {
        id: i64,
        timestamps: Vec<i64>,
        transactional: bool,
        how: How,
    },
    Marker {
        id: i64,
        abort: bool,
        bump: bool,
    },
    /// At which part, in thousandths, of what is retained.
    DeleteBefore(i64),
    Retain(i64),
    /// One full segment reaches the disk.
    Settle,
    Reopen {
        close: bool,
    },
}

/// What the sequence number of a batch is like.
#[derive(Debug, Clone, Copy)]
enum How {
    Next,
    /// So many batches back, as it was.
    Again(usize),
    Gap,
    NewEpoch,
    OldEpoch,
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![
        8 => Just(How::Next),
        2 => (0..7_usize).prop_map(How::Again),
        1 => Just(How::Gap),
        1 => Just(How::NewEpoch),
        1 => Just(How::OldEpoch),
    ];
    prop_oneof![
        12 => (-1..4_i64, prop::collection::vec(0..50_i64, 1..5), any::<bool>(), how).prop_map(|(id, timestamps, transactional, how)| {
            Step::Produce { id, timestamps, transactional: transactional && id >= 0, how }
        }),
        5 => (0..4_i64, any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(id, abort, bump)| Step::Marker { id, abort, bump }),
        1 => (0..=1_000_i64).prop_map(Step::DeleteBefore),
        1 => (0..2_000_i64).prop_map(Step::Retain),
        1 => Just(Step::Settle),
        2 => any::<bool>().prop_map(|close| Step::Reopen { close }),
    ]
}

/// A batch of the model.
#[derive(Debug, Clone)]
struct Entry {
    base: i64,
    last: i64,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
struct ModelProducer {
    epoch: i16,
    /// Batches of the epoch, and where they went.
    sent: Vec<(Batch, i64)>,
    open: Option<i64>,
}

impl ModelProducer {
    fn next_sequence(&self) -> i32 {
        let last = self.sent.last();
        last.map_or(0, |(batch, _)| {
            batch.sequence + batch.timestamps.len() as i32
        })
    }
}

#[derive(Debug, Default)]
struct Model {
    entries: Vec<Entry>,
    /// The timestamp of every record.
    records: Vec<i64>,
    producers: std::collections::BTreeMap<i64, ModelProducer>,
    /// Producer id, first offset, offset of the marker.
    aborted: Vec<(i64, i64, i64)>,
    start: i64,
    end: i64,
}

impl Model {
    fn last_stable(&self) -> i64 {
        let open = self.producers.values().filter_map(|producer| producer.open);
        open.min().map_or(self.end, |first| first.max(self.start))
    }

    fn push(&mut self, bytes: &Bytes, timestamps: &[i64]) -> i64 {
        let base = self.end;
        self.end += timestamps.len() as i64;
        self.records.extend(timestamps);
        self.entries.push(Entry {
            base,
            last: self.end - 1,
            bytes: placed(bytes, base),
        });
        base
    }

    /// The batch to send, and where it should go; nothing if it should be refused.
    fn produce(
        &mut self,
        id: i64,
        timestamps: &[i64],
        transactional: bool,
        how: How,
    ) -> (Batch, Option<i64>) {
        let batch = plain(0).at(timestamps);
        if id < 0 {
            let base = self.push(&batch.bytes(), timestamps);
            return (batch, Some(base));
        }
        let known = self.producers.contains_key(&id);
        let state = self.producers.get(&id).cloned().unwrap_or_default();
        let (epoch, next) = (state.epoch, state.next_sequence());
        let batch = match how {
            How::Next => batch.by(id, epoch, next),
            How::Gap => batch.by(id, epoch, next + 3),
            How::NewEpoch => batch.by(id, epoch + 1, 0),
            How::OldEpoch => batch.by(id, epoch - 1, next),
            How::Again(back) => match state.sent.iter().rev().nth(back) {
                Some((sent, base)) => {
                    let base = (back < 5).then_some(*base);
                    return (sent.clone(), base);
                }
                None => batch.by(id, epoch, next),
            },
        };
        let batch = if transactional {
            batch.transactional()
        } else {
            batch
        };
        let refused = match how {
            How::OldEpoch => true,
            How::Gap => known,
            _ => state.open.is_some() && !transactional,
        };
        if refused {
            return (batch, None);
        }
        let base = self.end;
        let state = self.producers.entry(id).or_default();
        if batch.producer.epoch != state.epoch {
            state.epoch = batch.producer.epoch;
            state.sent.clear();
        }
        state.sent.push((batch.clone(), base));
        if transactional {
            state.open.get_or_insert(base);
        }
        self.push(&batch.bytes(), timestamps);
        (batch, Some(base))
    }

    fn marker(&mut self, id: i64, abort: bool, bump: bool, bytes: &Bytes) {
        let marker = self.end;
        let state = self.producers.entry(id).or_default();
        if bump {
            state.epoch += 1;
            state.sent.clear();
        }
        if let (Some(first), true) = (state.open.take(), abort) {
            self.aborted.push((id, first, marker));
        }
        self.push(bytes, &[MARKED_AT]);
    }

    fn aborted_within(&self, from: i64, to: i64) -> Vec<AbortedTransaction> {
        let overlapping = |(_, first, last): &&(i64, i64, i64)| *last >= from && *first < to;
        let found = self.aborted.iter().filter(overlapping);
        found
            .map(|(id, first, _)| AbortedTransaction {
                producer_id: *id,
                first_offset: Offset(*first),
            })
            .collect()
    }
}

/// The log and the model, side by side.
struct Pair {
    log: Option<PartitionLog>,
    dir: Option<TempDir>,
    budget: MemoryBudget,
    model: Model,
}

impl Pair {
    fn new(durable: bool) -> Self {
        let budget = MemoryBudget::new(1 << 30);
        let dir = durable.then(|| tempfile::tempdir().unwrap());
        let log = match &dir {
            Some(dir) => open(dir.path(), SMALL_SEGMENTS),
            None => PartitionLog::in_memory(SMALL_SEGMENTS, budget.clone()),
        };
        Self {
            log: Some(log),
            dir,
            budget,
            model: Model::default(),
        }
    }

    fn log(&mut self) -> &mut PartitionLog {
        self.log.as_mut().unwrap()
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Produce {
                id,
                ref timestamps,
                transactional,
                how,
            } => {
                // A marker of an id that nobody knew makes it known, hence asked before.
                let (batch, expected) = self.model.produce(id, timestamps, transactional, how);
                let appended = self.log().append(&batch.bytes(), now(0));
                match (appended, expected) {
                    (Ok(appended), Some(base)) => assert_eq!(appended.base.0, base),
                    (Err(_), None) => {}
                    (appended, expected) => panic!("{appended:?}, expected {expected:?}"),
                }
            }
            Step::Marker { id, abort, bump } => {
                let known = self.model.producers.get(&id);
                let epoch = known.map_or(0, |known| known.epoch) + i16::from(bump);
                let outcome = if abort {
                    Outcome::Abort
                } else {
                    Outcome::Commit
                };
                let producer = Producer { id, epoch };
                let base = self
                    .log()
                    .append_marker(producer, outcome, now(MARKED_AT))
                    .unwrap();
                let bytes = batch::marker(base, producer, outcome, Timestamp(MARKED_AT));
                self.model.marker(id, abort, bump, &bytes.into());
            }
            Step::DeleteBefore(part) => {
                let retained = self.model.end - self.model.start;
                let offset = self.model.start + retained * part / 1_000;
                let start = self.log().delete_before(Offset(offset)).unwrap();
                assert_eq!(start.0, offset);
                self.model.start = offset;
            }
            Step::Retain(bytes) => {
                self.log().set_limits(LogLimits {
                    retention_bytes: bytes,
                    ..SMALL_SEGMENTS
                });
                let size = self.log().size_bytes();
                if retain(self.log(), now(0)) > 0 {
                    assert!(size > bytes as u64 && self.log().size_bytes() >= bytes as u64);
                }
                let start = self.log().start().0;
                assert!(start >= self.model.start);
                self.model.start = start;
            }
            Step::Settle => {
                if let Some(settling) = self.log().settling() {
                    let outcome = settling.carry_out();
                    assert!(self.log().settled(&settling, outcome));
                }
            }
            Step::Reopen { close } => {
                let Some(dir) = &self.dir else { return };
                let mut log = self.log.take().unwrap();
                if close {
                    log.close().unwrap();
                }
                drop(log);
                self.log = Some(open(dir.path(), SMALL_SEGMENTS));
            }
        }
    }

    fn check(&mut self) {
        let (log, model) = (self.log.as_ref().unwrap(), &self.model);
        let offsets = (log.start().0, log.last_stable().0, log.end().0);
        assert_eq!(offsets, (model.start, model.last_stable(), model.end));
        check_times(model, log);
        for isolation in [Isolation::Uncommitted, Isolation::Committed] {
            let limit = match isolation {
                Isolation::Uncommitted => model.end,
                Isolation::Committed => model.last_stable(),
            };
            for from in model.start..=model.end {
                for max in [0, 150, usize::MAX] {
                    let read = log.read(Offset(from), isolation, max, true).unwrap();
                    check_read(model, &read, from, limit, max);
                    let expected = match isolation {
                        Isolation::Committed if !read.records.is_empty() => {
                            let bases = bases(&read.records);
                            let last = bases.last().unwrap();
                            let entry = model.entries.iter().find(|entry| entry.base == *last);
                            model.aborted_within(from, entry.unwrap().last + 1)
                        }
                        _ => Vec::new(),
                    };
                    assert_eq!(read.aborted, expected, "from {from}");
                }
            }
        }
    }
}

/// Records are found by their times.
fn check_times(model: &Model, log: &PartitionLog) {
    let retained = || (model.start..).zip(model.records.iter().skip(model.start as usize));
    let found = |(offset, at): (i64, &i64)| (Offset(offset), Timestamp(*at));
    for time in -1..=51 {
        let expected = retained().find(|(_, at)| **at >= time).map(found);
        assert_eq!(log.offset_for_time(Timestamp(time)).unwrap(), expected);
    }
    let latest = retained().min_by_key(|(offset, at)| (-**at, *offset));
    assert_eq!(log.offset_of_max_timestamp().unwrap(), latest.map(found));
}

/// What was read are the batches that hold `from` and what follows, up to `limit` and about `max`.
fn check_read(model: &Model, read: &Read, from: i64, limit: i64, max: usize) {
    let wanted = model
        .entries
        .iter()
        .filter(|entry| from < limit && entry.last >= from && entry.base < limit);
    let (mut rest, mut batches) = (read.records.as_ref(), 0);
    for entry in wanted.clone() {
        let Some(tail) = rest.strip_prefix(entry.bytes.as_slice()) else {
            break;
        };
        (rest, batches) = (tail, batches + 1);
    }
    assert!(
        rest.is_empty(),
        "from {from}: batches that are not the log's"
    );
    assert_eq!(batches == 0, wanted.count() == 0, "from {from}");
    assert!(read.records.len() <= max || batches == 1, "from {from}");
}

fn run(durable: bool, steps: &[Step]) {
    let mut pair = Pair::new(durable);
    for step in steps {
        pair.run(step);
        pair.check();
    }
    pair.log = None;
    assert_eq!(pair.budget.used(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_log_in_memory_is_as_the_model(steps in prop::collection::vec(step(), 1..40)) {
        run(false, &steps);
    }

    #[test]
    fn a_log_in_files_is_as_the_model(steps in prop::collection::vec(step(), 1..40)) {
        run(true, &steps);
    }
}
