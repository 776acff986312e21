//! The sink that runs ahead of the checkpoint: short transactions that carry the source offsets
//! their rows came from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;

use super::cursor::{self, Cursor};
use super::producer::TransactionalProducer;
use super::records::{EncodeError, Records, TooLarge};
use super::{CursorPlace, RecordShape, SinkTarget};
use crate::dead_letter::DeadLetters;
use crate::rows::Origin;
use crate::sink::{CommitPermit, Committed, OutputRows, PreCommit, Progress, Sink, SinkError};
use crate::source::RawRecord;
use crate::units::{Epoch, Offset, Partition, SourceId};

/// A transaction is committed before its time when it has grown to this many bytes, so that what
/// is kept for sending it again stays bounded.
const MOST_PENDING_BYTES: usize = 16 << 20;

/// A source of the rows, as far as its cursor is concerned.
#[derive(Debug, Clone)]
pub struct CursorSource {
    /// Source.
    pub source: SourceId,
    /// Where its cursor is kept.
    pub place: CursorPlace,
    /// Lineages of partitions that were made anew under the same name: what the cursor said about
    /// the records before means nothing for those there are now.
    pub renewed: BTreeMap<Partition, String>,
}

impl CursorSource {
    /// The lineage that a mark of `partition` must name to count, in a chain called `lineage`.
    pub(super) fn lineage_of<'a>(&'a self, partition: Partition, lineage: &'a str) -> &'a str {
        self.renewed.get(&partition).map_or(lineage, String::as_str)
    }
}

/// Where rows go that the topic does not take because they are too large: to the dead letters' topic,
/// in the same transaction as the rows around them, so they are neither lost nor there twice.
#[derive(Clone)]
pub struct Burial {
    /// The dead letters' topic, on the output's cluster.
    pub topic: String,
    /// What the source calls one of its partitions (a topic, a path).
    pub origin: Arc<dyn Fn(SourceId, Partition) -> String + Send + Sync>,
}

struct Graveyard {
    burial: Burial,
    /// Dead letters are cut to it.
    limit: usize,
}

/// Sends rows in short transactions. After a restart, rows below the cursor are dropped: they have
/// been sent. This needs the same rows for the same records, so it suits stateless outputs.
pub struct KafkaAheadSink {
    target: SinkTarget,
    shape: RecordShape,
    places: Vec<CursorSource>,
    producer: TransactionalProducer,
    /// What had been sent before this instance began; rows below are dropped.
    resumed: Cursor,
    /// How far each partition has been evaluated and written.
    progress: Cursor,
    /// Entries of `progress` that the committed cursor does not have yet.
    changed: Cursor,
    pending: Records,
    /// Without one, a row that is too large is an error.
    graveyard: Option<Graveyard>,
    /// When the last transaction was committed.
    committed_at: Option<Instant>,
    /// Became visible and was not reported yet.
    unreported: Committed,
}

impl KafkaAheadSink {
    /// Connects, fences older instances and reads how far they came.
    pub fn open(
        target: SinkTarget,
        shape: RecordShape,
        sources: &[CursorSource],
    ) -> Result<Self, SinkError> {
        let places = sources.to_vec();
        // The source's partitions are counted once predecessors are fenced: until then one of them
        // may come upon a new partition and send its rows.
        let (producer, committed) = TransactionalProducer::open(&target, |partitions| {
            cursor::request(&places, &target.topic, partitions)
        })?;
        let resumed = cursor::read(&places, &target.topic, &target.lineage, &committed);
        Ok(Self {
            progress: resumed.clone(),
            changed: Cursor::new(),
            target,
            shape,
            places,
            producer,
            resumed,
            pending: Records::default(),
            graveyard: None,
            committed_at: None,
            unreported: Committed::default(),
        })
    }

    /// Has rows that are too large for the topic buried instead of ending the run.
    pub fn with_burial(mut self, burial: Burial) -> Result<Self, SinkError> {
        let limit = self.producer.also_write(&burial.topic)?;
        self.graveyard = Some(Graveyard { burial, limit });
        Ok(self)
    }

    fn commit_pending(&mut self) -> Result<(), SinkError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mark = cursor::write(
            &self.places,
            &self.target.topic,
            &self.target.lineage,
            &self.progress,
            &self.changed,
        )
        .map_err(|error| SinkError::Failed {
            attempted: self.target.attempt("keep the cursor of"),
            reason: error.to_string(),
        })?;
        self.producer.commit(&self.pending, &mark)?;
        self.unreported += Committed {
            rows: (self.pending.len() - self.pending.dead()) as u64,
            files: 0,
            bytes: self.pending.bytes() as u64,
            refused: self.pending.dead() as u64,
        };
        self.pending.clear();
        self.changed.clear();
        self.committed_at = Some(Instant::now());
        Ok(())
    }

    /// How long pending rows still wait: transactions are no closer together than the commit
    /// interval, and a row that comes after a longer silence does not wait at all.
    fn pause(&self) -> Duration {
        let since = self.committed_at.map(|at| at.elapsed());
        since.map_or(Duration::ZERO, |since| {
            self.target.commit_interval.saturating_sub(since)
        })
    }

    fn encode(&mut self, batch: &RecordBatch, origin: &Origin) -> Result<(), EncodeError> {
        let limit = self.producer.max_record_bytes();
        let Some(graveyard) = &self.graveyard else {
            return self.pending.add(batch, &self.shape, limit);
        };
        let too_large = self.pending.add_fitting(batch, &self.shape, limit)?;
        if too_large.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            output = self.target.output,
            rows = too_large.len(),
            limit,
            "rows too large for the topic become dead letters"
        );
        let mut letters = DeadLetters::default();
        for TooLarge {
            row,
            size,
            key,
            value,
        } in &too_large
        {
            let partition = Partition(origin.partition.value(*row));
            let record = RawRecord {
                partition,
                offset: Offset(origin.offset.value(*row)),
                timestamp_ms: origin.timestamp.value(*row),
                key: key.as_deref(),
                value: Some(value),
            };
            let reason = format!(
                "output '{}': {}",
                self.target.output,
                EncodeError::TooLarge { size: *size, limit }
            );
            let name = (graveyard.burial.origin)(origin.source, partition);
            letters.push(&name, &record, &reason);
        }
        let letters = letters.finish(origin.source)?;
        self.pending.bury(&letters.batch, graveyard.limit)
    }

    fn note_progress(&mut self, progress: &[Progress]) {
        for step in progress {
            let at = (step.source, step.partition);
            let known = self.progress.entry(at).or_insert(Offset(0));
            // After a restart partitions are evaluated again from further back.
            if step.next > *known {
                *known = step.next;
                self.changed.insert(at, step.next);
            }
        }
    }
}

/// The rows that have not been sent by an earlier instance; `None` if that is all of them.
fn unsent(resumed: &Cursor, origin: &Origin) -> Option<BooleanArray> {
    let is_new = |(partition, offset): (&i32, &i64)| {
        resumed
            .get(&(origin.source, Partition(*partition)))
            .is_none_or(|next| *offset >= next.0)
    };
    let rows = || origin.partition.values().iter().zip(origin.offset.values());
    if rows().all(is_new) {
        return None;
    }
    Some(rows().map(|row| Some(is_new(row))).collect())
}

impl Sink for KafkaAheadSink {
    fn restore(
        &mut self,
        _permit: &CommitPermit,
        _pre_commit: PreCommit,
    ) -> Result<Committed, SinkError> {
        // The cursor says all there is to know, and it is newer than any checkpoint.
        Ok(Committed::default())
    }

    fn write(&mut self, rows: OutputRows, progress: &[Progress]) -> Result<(), SinkError> {
        let Some(origin) = &rows.origin else {
            return Err(SinkError::Failed {
                attempted: self.target.attempt("write to"),
                reason: "rows without an origin cannot go ahead of the checkpoint".to_owned(),
            });
        };
        let failed = |error: arrow::error::ArrowError| EncodeError::from(error);
        let (batch, origin): (RecordBatch, Origin) = match unsent(&self.resumed, origin) {
            None => (rows.batch, origin.clone()),
            Some(mask) => {
                // They became visible by an earlier instance, after its last checkpoint.
                self.unreported.rows += (mask.len() - mask.true_count()) as u64;
                let kept = filter_record_batch(&rows.batch, &mask)
                    .and_then(|batch| Ok((batch, origin.filter(&mask)?)));
                kept.map_err(failed)
                    .map_err(|error| error.for_sink(&self.target))?
            }
        };
        if batch.num_rows() > 0 {
            self.encode(&batch, &origin)
                .map_err(|error| error.for_sink(&self.target))?;
            self.producer.feed(&self.pending)?;
        }
        self.note_progress(progress);
        if self.pending.bytes() >= MOST_PENDING_BYTES {
            self.commit_pending()?;
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<(Committed, Option<Duration>), SinkError> {
        if !self.pending.is_empty() && self.pause().is_zero() {
            self.commit_pending()?;
        }
        let wait = (!self.pending.is_empty()).then(|| self.pause());
        Ok((std::mem::take(&mut self.unreported), wait))
    }

    fn resumed_at(&self, source: SourceId, partition: Partition) -> Option<Offset> {
        self.resumed.get(&(source, partition)).copied()
    }

    fn pre_commit(&mut self, _epoch: Epoch, _last: bool) -> Result<PreCommit, SinkError> {
        self.commit_pending()?;
        Ok(PreCommit::default())
    }

    fn commit(&mut self, _permit: &CommitPermit) -> Result<Committed, SinkError> {
        Ok(Committed::default())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array, UInt32Array};

    use super::*;

    #[test]
    fn rows_below_the_cursor_are_dropped_partition_by_partition() {
        let origin = Origin {
            source: SourceId(0),
            partition: Int32Array::from(vec![0, 0, 1, 1, 2]),
            offset: Int64Array::from(vec![4, 5, 4, 5, 0]),
            timestamp: Int64Array::from(vec![0; 5]),
            row: UInt32Array::from_iter_values(0..5),
        };
        let cursor = Cursor::from([
            ((SourceId(0), Partition(0)), Offset(5)),
            ((SourceId(0), Partition(1)), Offset(4)),
            ((SourceId(1), Partition(2)), Offset(9)),
        ]);
        let mask = unsent(&cursor, &origin).expect("one row is below");
        assert_eq!(
            mask,
            BooleanArray::from(vec![false, true, true, true, true])
        );
        assert_eq!(unsent(&Cursor::new(), &origin), None);
    }
}
