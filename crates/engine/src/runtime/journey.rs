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
    pub(super) counts: Vec<OutputLedger>,
}

impl Journey {
    /// Carries fetched records through; they are borrowed only for this call.
    pub(super) fn take(
        &mut self,
        records: &[RawRecord<'_>],
        wall_ms: i64,
    ) -> Result<(), EngineError> {
        let mut rest = records;
        while !rest.is_empty() {
            let taken = self.take_batch(rest, wall_ms)?;
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Carries as many records as make one batch; returns how many.
    fn take_batch(
        &mut self,
        records: &[RawRecord<'_>],
        wall_ms: i64,
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
                Some(value) => self.decoder.decode(value).err().map(|e| e.to_string()),
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
        for branch in 0..self.branches.len() {
            self.carry(branch, &rows)?;
        }
        self.bury(dead)?;
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
        for run in records.chunk_by(|a, b| a.partition == b.partition) {
            let (Some(view), Some(last)) = (self.partitions.get_mut(&run[0].partition), run.last())
            else {
                continue;
            };
            view.delivered += run.len() as u64;
            view.next = Offset(last.offset.0 + 1);
            view.caught_up = false;
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
            }
        }
    }

    /// Carries a batch along one output's branch.
    fn carry(&mut self, branch: usize, source_rows: &Rows) -> Result<(), EngineError> {
        let Branch {
            name, before, end, ..
        } = &mut self.branches[branch];
        let counts = &mut self.counts[branch];
        let mut rows = source_rows.clone();
        for step in before.iter() {
            let entered = rows.len();
            rows = rows.apply(step).map_err(|source| EngineError::Query {
                output: name.clone(),
                source,
            })?;
            counts.filtered += (entered - rows.len()) as u64;
        }
        match end {
            BranchEnd::Stateless(queue) => {
                counts.taken += rows.len() as u64;
                if !rows.is_empty() {
                    let progress = progress(self.source, &self.partitions);
                    send(
                        queue,
                        name,
                        OutputRows {
                            batch: rows.batch,
                            origin: Some(rows.origin),
                        },
                        progress,
                    )?;
                }
            }
            BranchEnd::Windowed {
                operator,
                window_end,
            } => {
                let pushed = operator.push(&rows).map_err(|source| EngineError::Window {
                    output: name.clone(),
                    source,
                })?;
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
                        send(queue, "late", rows, Vec::new())?;
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
        send(
            queue,
            "dead letter",
            rows,
            progress(self.source, &self.partitions),
        )
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

/// Queues rows for a sink; blocks while its queue is full.
fn send(
    queue: &SinkQueue,
    name: &str,
    rows: OutputRows,
    progress: Vec<Progress>,
) -> Result<(), EngineError> {
    queue
        .send(SinkCommand::Write(rows, progress))
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
