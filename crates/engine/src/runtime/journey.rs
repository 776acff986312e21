//! An event's journey through a worker, in order: decoded, dated, observed, carried to each output.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, Int32Array, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::TimestampMicrosecondType;
use floodmark_pipeline::{EventTime, OnBadRecord};
use floodmark_sql::Step;

use super::error::EngineError;
use super::message::{PartitionView, SinkCommand, SinkQueue};
use crate::dead_letter::DeadLetters;
use crate::decode::JsonDecoder;
use crate::ledger::OutputLedger;
use crate::rows::{Origin, Rows};
use crate::sink::{OutputRows, Progress};
use crate::source::{PartitionEvent, RawRecord};
use crate::telemetry::{Stage, StageMeter, Told};
use crate::units::{EventMicros, Offset, OutputId, Partition, SourceId};
use crate::watermark::FutureGuard;
use crate::window::{Late, WindowOperator};

/// A batch is cut when its decoded values hold this many bytes: Arrow's string offsets are 32-bit.
const MAX_BATCH_BYTES: usize = 64 << 20;

/// One output's way from a decoded batch.
pub(super) struct Branch {
    pub(super) id: OutputId,
    pub(super) name: String,
    pub(super) before: Vec<Step>,
    pub(super) end: BranchEnd,
}

/// Where a branch ends in this worker.
pub(super) enum BranchEnd {
    /// Rows go to the sink as they are.
    Stateless(SinkQueue),
    /// Rows are aggregated; the coordinator fires windows.
    Windowed {
        operator: WindowOperator,
        window_end: Box<dyn Fn(EventMicros) -> EventMicros + Send>,
    },
}

/// Everything of a lane that a batch passes through; apart from the reader, which lends the bytes.
pub(super) struct Journey {
    pub(super) source: SourceId,
    pub(super) source_name: String,
    pub(super) topics: BTreeMap<Partition, String>,
    pub(super) decoder: JsonDecoder,
    pub(super) event_time: Option<EventTime>,
    pub(super) on_bad_record: OnBadRecord,
    pub(super) batch_rows: usize,
    pub(super) branches: Vec<Branch>,
    pub(super) dead_letters: Option<SinkQueue>,
    pub(super) late: Option<SinkQueue>,
    pub(super) partitions: BTreeMap<Partition, PartitionView>,
    pub(super) read: u64,
    pub(super) bad: u64,
    pub(super) null_time: u64,
    pub(super) future: u64,
    pub(super) bytes: u64,
    pub(super) batches: u64,
    pub(super) counts: Vec<OutputLedger>,
}

impl Journey {
    /// Carries fetched records through; they are borrowed only for this call.
    pub(super) fn take(
        &mut self,
        records: &[RawRecord<'_>],
        wall_ms: i64,
        meter: &mut StageMeter,
    ) -> Result<(), EngineError> {
        let mut rest = records;
        while !rest.is_empty() {
            meter.fetched();
            let taken = self.take_batch(rest, wall_ms, meter)?;
            meter.finished();
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Carries as many records as make one batch; returns how many.
    fn take_batch(
        &mut self,
        records: &[RawRecord<'_>],
        wall_ms: i64,
        meter: &mut StageMeter,
    ) -> Result<usize, EngineError> {
        let mut dead = DeadLetters::default();
        let mut good: Vec<u32> = Vec::with_capacity(records.len());
        let mut taken = 0;
        for record in records {
            if self.decoder.bytes() + dead.bytes() >= MAX_BATCH_BYTES {
                break;
            }
            let refused = match record.value {
                None => Some("null value".to_owned()),
                Some(value) => {
                    self.bytes += value.len() as u64;
                    self.decoder.decode(value).err().map(|e| e.to_string())
                }
            };
            match refused {
                None => good.push(taken as u32),
                Some(reason) => {
                    self.bad += 1;
                    self.refuse(record, reason, &mut dead)?;
                }
            }
            taken += 1;
        }
        let records = &records[..taken];
        self.count_delivered(records);
        let batch = self
            .decoder
            .finish()
            .map_err(|e| EngineError::internal(format!("decoder of '{}'", self.source_name), e))?;
        let rows = Rows {
            origin: origin(self.source, records, &good),
            batch,
        };
        let rows = self.require_event_time(rows, records, &mut dead)?;
        self.observe(&rows, wall_ms);
        meter.spent_on(Stage::Decode);
        for branch in 0..self.branches.len() {
            self.carry(branch, &rows, meter)?;
        }
        self.bury(dead)?;
        meter.waited();
        Ok(taken)
    }

    /// A record that could not be decoded, or has no event time: dead letter, error, or count.
    fn refuse(
        &self,
        record: &RawRecord<'_>,
        reason: String,
        dead: &mut DeadLetters,
    ) -> Result<(), EngineError> {
        let topic = self
            .topics
            .get(&record.partition)
            .map_or("", String::as_str);
        match self.on_bad_record {
            OnBadRecord::Skip => {}
            OnBadRecord::DeadLetter => dead.push(topic, record, &reason),
            OnBadRecord::Fail => {
                return Err(EngineError::BadRecord {
                    source_name: self.source_name.clone(),
                    topic: topic.to_owned(),
                    partition: record.partition.0,
                    offset: record.offset.0,
                    reason,
                });
            }
        }
        Ok(())
    }

    fn count_delivered(&mut self, records: &[RawRecord<'_>]) {
        self.read += records.len() as u64;
        self.batches += 1;
        for run in records.chunk_by(|a, b| a.partition == b.partition) {
            let (Some(view), Some(last)) = (self.partitions.get_mut(&run[0].partition), run.last())
            else {
                continue;
            };
            view.delivered += run.len() as u64;
            view.next = Offset(last.offset.0 + 1);
            view.caught_up = false;
            view.last_timestamp_ms = last.timestamp_ms;
        }
    }

    /// Takes rows without an event time out: no watermark and no window can account for them.
    fn require_event_time(
        &mut self,
        rows: Rows,
        records: &[RawRecord<'_>],
        dead: &mut DeadLetters,
    ) -> Result<Rows, EngineError> {
        let Some(event_time) = &self.event_time else {
            return Ok(rows);
        };
        let times = rows.batch.column(event_time.column);
        if times.null_count() == 0 {
            return Ok(rows);
        }
        let reason = format!(
            "{}: the event time is null",
            rows.batch.schema_ref().field(event_time.column).name()
        );
        let present = arrow::compute::is_not_null(times)
            .map_err(|e| EngineError::internal("event time", e))?;
        for (row, present) in present.values().iter().enumerate() {
            if present {
                continue;
            }
            self.null_time += 1;
            let record = &records[rows.origin.row.value(row) as usize];
            self.refuse(record, reason.clone(), dead)?;
        }
        rows.filter(&present)
            .map_err(|e| EngineError::internal("event time", e))
    }

    /// Notes the greatest event time of each partition that may move the watermark.
    fn observe(&mut self, rows: &Rows, wall_ms: i64) {
        let Some(event_time) = &self.event_time else {
            return;
        };
        let guard = FutureGuard::at(wall_ms, event_time.max_future);
        let times = rows.batch.column(event_time.column);
        let times = times.as_primitive::<TimestampMicrosecondType>().values();
        let partitions = rows.origin.partition.values();
        let mut row = 0;
        while row < times.len() {
            let partition = partitions[row];
            let mut max: Option<EventMicros> = None;
            let mut dated = 0;
            while row < times.len() && partitions[row] == partition {
                let time = EventMicros(times[row]);
                if guard.admits(time) {
                    max = max.max(Some(time));
                    dated += 1;
                } else {
                    self.future += 1;
                }
                row += 1;
            }
            if let Some(view) = self.partitions.get_mut(&Partition(partition)) {
                view.max_event_time = view.max_event_time.max(max);
                view.dated += dated;
                view.undated = dated == 0;
            }
        }
    }

    /// Carries a batch along one output's branch.
    fn carry(
        &mut self,
        branch: usize,
        source_rows: &Rows,
        meter: &mut StageMeter,
    ) -> Result<(), EngineError> {
        let Branch {
            name, before, end, ..
        } = &mut self.branches[branch];
        let counts = &mut self.counts[branch];
        let mut rows = source_rows.clone();
        for step in before.iter() {
            let entered = rows.len();
            rows = rows.apply(step).map_err(|source| EngineError::Query {
                output: name.clone(),
                cause: source,
            })?;
            counts.filtered += (entered - rows.len()) as u64;
        }
        meter.spent_on(Stage::Sql);
        match end {
            BranchEnd::Stateless(queue) => {
                counts.taken += rows.len() as u64;
                if !rows.is_empty() {
                    let progress = progress(self.source, &self.partitions);
                    let told = match &self.event_time {
                        Some(event_time) if queue.measures_rows() => {
                            event_times(&rows.origin, source_rows, event_time.column)
                        }
                        _ => Told::Nothing,
                    };
                    let rows = OutputRows {
                        batch: rows.batch,
                        origin: Some(rows.origin),
                    };
                    meter.spent_on(Stage::Sql);
                    send(queue, name, rows, progress, told)?;
                    meter.waited();
                }
            }
            BranchEnd::Windowed {
                operator,
                window_end,
            } => {
                let pushed = operator.push(&rows).map_err(|source| EngineError::Window {
                    output: name.clone(),
                    cause: source,
                })?;
                meter.spent_on(Stage::Window);
                counts.taken += pushed.taken;
                if let Some(late) = pushed.late {
                    counts.late += late.rows.len() as u64;
                    if let Some(queue) = &self.late {
                        let topics = &self.topics;
                        let batch = late_batch(name, &late, source_rows, window_end, topics)
                            .map_err(|e| EngineError::internal("late rows", e))?;
                        let rows = OutputRows {
                            batch,
                            origin: Some(late.rows.origin),
                        };
                        send(queue, "late", rows, Vec::new(), Told::Nothing)?;
                        meter.waited();
                    }
                }
            }
        }
        Ok(())
    }

    fn bury(&self, dead: DeadLetters) -> Result<(), EngineError> {
        let (Some(queue), false) = (&self.dead_letters, dead.is_empty()) else {
            return Ok(());
        };
        let rows = dead
            .finish(self.source)
            .map_err(|e| EngineError::internal("dead letters", e))?;
        let rows = OutputRows {
            batch: rows.batch,
            origin: Some(rows.origin),
        };
        let progress = progress(self.source, &self.partitions);
        send(queue, "dead letter", rows, progress, Told::Nothing)
    }

    pub(super) fn learn(&mut self, event: &PartitionEvent) {
        match event {
            PartitionEvent::CaughtUp { partition, next } => {
                if let Some(view) = self.partitions.get_mut(partition) {
                    // An end that was passed in the same poll is none any more.
                    view.caught_up = *next >= view.next;
                    view.next = view.next.max(*next);
                }
            }
            PartitionEvent::Ended { partition } => {
                if let Some(view) = self.partitions.get_mut(partition) {
                    view.caught_up = true;
                    view.ended = true;
                }
            }
        }
    }
}

/// Origin of the records at the positions `good`.
fn origin(source: SourceId, records: &[RawRecord<'_>], good: &[u32]) -> Origin {
    let picked = || good.iter().map(|&i| &records[i as usize]);
    Origin {
        source,
        partition: Int32Array::from_iter_values(picked().map(|r| r.partition.0)),
        offset: Int64Array::from_iter_values(picked().map(|r| r.offset.0)),
        timestamp: Int64Array::from_iter_values(picked().map(|r| r.timestamp_ms)),
        row: UInt32Array::from_iter_values(good.iter().copied()),
    }
}

fn progress(source: SourceId, partitions: &BTreeMap<Partition, PartitionView>) -> Vec<Progress> {
    let each = partitions.iter();
    each.map(|(partition, view)| Progress {
        source,
        partition: *partition,
        next: view.next,
    })
    .collect()
}

/// Event times of rows that have come through the steps of a query, which may have dropped the column:
/// their origin tells where each stood among the source's rows.
fn event_times(origin: &Origin, source_rows: &Rows, column: usize) -> Told {
    let times = source_rows.batch.column(column);
    let Some(times) = times.as_primitive_opt::<TimestampMicrosecondType>() else {
        return Told::Nothing;
    };
    let (all, wanted) = (source_rows.origin.row.values(), origin.row.values());
    if wanted.len() == all.len() {
        return Told::EventTimes(times.values().clone());
    }
    let mut at = 0;
    let picked = wanted.iter().map(|row| {
        // Where no row was refused, each stands where its number says; both lists ascend.
        if all.get(*row as usize) == Some(row) {
            at = *row as usize;
        }
        while all.get(at).is_some_and(|other| other < row) {
            at += 1;
        }
        times.values().get(at).copied().unwrap_or_default()
    });
    Told::EventTimes(picked.collect())
}

/// Queues rows for a sink; blocks while its queue is full.
fn send(
    queue: &SinkQueue,
    name: &str,
    rows: OutputRows,
    progress: Vec<Progress>,
    told: Told,
) -> Result<(), EngineError> {
    queue
        .send(SinkCommand::Write(rows, progress, told))
        .map_err(|_| EngineError::internal(format!("output '{name}'"), "its sink has ended"))
}

fn late_batch(
    output: &str,
    late: &Late,
    source_rows: &Rows,
    window_end: &dyn Fn(EventMicros) -> EventMicros,
    topics: &BTreeMap<Partition, String>,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    // Positions in the decoded batch, to positions among the rows that have an event time.
    let decoded = source_rows.origin.row.values();
    let wanted = late.rows.origin.row.values().iter();
    let positions: UInt32Array = wanted
        .map(|row| decoded.binary_search(row).map_or(0, |at| at as u32))
        .collect::<Vec<_>>()
        .into();
    let whole = arrow::compute::take_record_batch(&source_rows.batch, &positions)?;
    let json = crate::sink::kafka::json::to_strings(&whole)?;
    let topic = |p: i32| topics.get(&Partition(p)).cloned().unwrap_or_default();
    crate::late::batch(output, late, window_end, topic, &json)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, Int64Array, TimestampMicrosecondArray};

    use super::*;

    fn rows(numbers: &[u32], times: Vec<i64>) -> Rows {
        let zeros = || numbers.iter().map(|_| 0);
        let times = Arc::new(TimestampMicrosecondArray::from(times)) as _;
        Rows {
            batch: RecordBatch::try_from_iter([("ts", times)]).expect("a batch"),
            origin: Origin {
                source: SourceId(0),
                partition: Int32Array::from_iter_values(zeros()),
                offset: Int64Array::from_iter_values(zeros().map(i64::from)),
                timestamp: Int64Array::from_iter_values(zeros().map(i64::from)),
                row: UInt32Array::from_iter_values(numbers.iter().copied()),
            },
        }
    }

    fn found(origin: &Origin, source: &Rows) -> Vec<i64> {
        match event_times(origin, source, 0) {
            Told::EventTimes(times) => times.to_vec(),
            told => panic!("{told:?}"),
        }
    }

    #[test]
    fn event_times_are_those_of_the_rows_that_are_left() {
        let whole = rows(&[0, 1, 2, 3], vec![10, 11, 12, 13]);
        assert_eq!(found(&whole.origin, &whole), [10, 11, 12, 13]);
        let left = rows(&[1, 3], vec![0, 0]);
        assert_eq!(found(&left.origin, &whole), [11, 13]);
        // Records 1 and 2 were refused: rows stand before where their numbers say.
        let gaps = rows(&[0, 3, 4, 6], vec![10, 13, 14, 16]);
        let left = rows(&[3, 6], vec![0, 0]);
        assert_eq!(found(&left.origin, &gaps), [13, 16]);
    }
}
