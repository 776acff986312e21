//! The sink that goes with the checkpoint: one transaction an epoch, stamped with its number.

use std::time::Duration;

use arrow::array::RecordBatch;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::cursor;
use super::producer::TransactionalProducer;
use super::records::Records;
use super::transactions::{Connect, Transactions};
use super::{RecordShape, SinkTarget};
use crate::sink::{CommitPermit, Committed, OutputRows, PreCommit, Progress, Sink, SinkError};
use crate::units::Epoch;

/// Sends an epoch's rows after its checkpoint, which stores them until then. The stamp in the same
/// transaction tells after a crash whether they were sent, so `commit` is idempotent across
/// instances too.
pub struct KafkaEpochSink {
    target: SinkTarget,
    shape: RecordShape,
    producer: Box<dyn Transactions>,
    /// The last epoch that was sent.
    stamped: Option<Epoch>,
    /// Rows of the epoch that is being written.
    open: Vec<RecordBatch>,
    /// Rows whose checkpoint is being taken.
    staged: Option<(Epoch, Vec<RecordBatch>)>,
    records: Records,
}

impl KafkaEpochSink {
    /// Connects, fences older instances and reads which epoch they sent last.
    pub fn open(target: SinkTarget, shape: RecordShape) -> Result<Self, SinkError> {
        Self::over(target, shape, &mut TransactionalProducer::open)
    }

    /// The same over any producer.
    #[doc(hidden)]
    pub fn over(
        target: SinkTarget,
        shape: RecordShape,
        connect: Connect<'_>,
    ) -> Result<Self, SinkError> {
        let (producer, committed) = connect(&target, &|_| {
            let mut mark = TopicPartitionList::new();
            mark.add_partition(&target.topic, 0);
            Ok(mark)
        })?;
        let stamped = cursor::read_stamp(&target.topic, &target.lineage, &committed);
        Ok(Self {
            target,
            shape,
            producer,
            stamped,
            open: Vec::new(),
            staged: None,
            records: Records::default(),
        })
    }

    /// The last epoch that was sent, by this or an earlier instance.
    pub fn stamped(&self) -> Option<Epoch> {
        self.stamped
    }

    /// Sends the rows of `epoch` unless its stamp says that they were sent.
    fn settle(&mut self, epoch: Epoch, rows: &[RecordBatch]) -> Result<Committed, SinkError> {
        if self.stamped.is_some_and(|stamped| stamped >= epoch) {
            // An instance that died before it could count them has sent them.
            return Ok(Committed {
                rows: rows.iter().map(|batch| batch.num_rows() as u64).sum(),
                ..Committed::default()
            });
        }
        self.records.clear();
        for batch in rows {
            let limit = self.producer.max_record_bytes();
            let added = self.records.add(batch, &self.shape, limit);
            added.map_err(|error| error.for_sink(&self.target))?;
        }
        if self.records.is_empty() {
            return Ok(Committed::default());
        }
        let mark =
            cursor::stamp(&self.target.topic, &self.target.lineage, epoch).map_err(|error| {
                SinkError::Failed {
                    attempted: self.target.attempt("stamp"),
                    reason: error.to_string(),
                }
            })?;
        self.producer.commit(&self.records, &mark)?;
        self.stamped = Some(epoch);
        let committed = Committed {
            rows: self.records.len() as u64,
            files: 0,
            bytes: self.records.bytes() as u64,
            refused: 0,
        };
        self.records.clear();
        Ok(committed)
    }
}

impl Sink for KafkaEpochSink {
    fn restore(
        &mut self,
        permit: &CommitPermit,
        pre_commit: PreCommit,
    ) -> Result<Committed, SinkError> {
        self.settle(permit.epoch(), &pre_commit.carried)
    }

    fn write(&mut self, rows: OutputRows, _progress: &[Progress]) -> Result<(), SinkError> {
        if rows.batch.num_rows() > 0 {
            self.open.push(rows.batch);
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<(Committed, Option<Duration>), SinkError> {
        Ok((Committed::default(), None))
    }

    fn pre_commit(&mut self, epoch: Epoch, _last: bool) -> Result<PreCommit, SinkError> {
        let rows = std::mem::take(&mut self.open);
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        self.staged = Some((epoch, rows.clone()));
        Ok(PreCommit {
            work: serde_json::json!({ "rows": count }),
            carried: rows,
        })
    }

    fn commit(&mut self, permit: &CommitPermit) -> Result<Committed, SinkError> {
        match self.staged.take() {
            Some((epoch, rows)) if epoch == permit.epoch() => self.settle(epoch, &rows),
            // Nothing of this epoch is left to do; a later one stays staged.
            other => {
                self.staged = other;
                Ok(Committed::default())
            }
        }
    }
}
