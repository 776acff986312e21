//! Sinks in memory, one of each discipline, over a table that outlives them.
//!
//! A crash is the sink being dropped. What the table shows is what a reader of files, or a
//! `read_committed` consumer, would see. Calls out of the order that [`crate::sink`] sets fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arrow::array::{BooleanArray, RecordBatch};
use serde_json::json;

use super::source::lock;
use crate::clock::Clock;
use crate::rows::Rows;
use crate::sink::console::append_json_lines;
use crate::sink::{CommitPermit, Committed, OutputRows, PreCommit, Progress, Sink, SinkError};
use crate::units::{Epoch, Generation, Offset, Partition, SourceId};

/// Where rows go. Clones are the same table.
#[derive(Clone, Default)]
pub struct MemoryTable {
    shared: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    visible: Vec<RecordBatch>,
    staged: BTreeMap<u64, Staged>,
    cursors: Cursors,
    /// Of the newest sink; older ones are fenced.
    generation: Option<Generation>,
}

type Cursors = BTreeMap<(SourceId, Partition), Offset>;

/// Durable rows.
struct Staged {
    rows: Vec<RecordBatch>,
    visible: bool,
}

impl MemoryTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// A sink that goes with the checkpoint. Rows are staged in files of at least `rows_per_file`;
    /// a smaller one stays open and its rows are carried by the checkpoint.
    pub fn sink(&self, generation: Generation, rows_per_file: usize) -> MemorySink {
        self.open(generation);
        MemorySink {
            table: self.clone(),
            generation,
            rows_per_file,
            open: Vec::new(),
            restored: Stage::Restorable,
            pre_committed: None,
        }
    }

    /// A sink ahead of the checkpoint, with transactions as long as `every`.
    pub fn sink_ahead(
        &self,
        generation: Generation,
        every: Duration,
        clock: Arc<dyn Clock>,
    ) -> MemorySinkAhead {
        let cursors = self.open(generation);
        MemorySinkAhead {
            table: self.clone(),
            generation,
            every,
            clock,
            sent_before: cursors,
            pending: Vec::new(),
            progress: Cursors::new(),
            due: None,
            unreported: Committed::default(),
        }
    }

    fn open(&self, generation: Generation) -> Cursors {
        let mut table = lock(&self.shared);
        table.generation = table.generation.max(Some(generation));
        table.cursors.clone()
    }

    /// The table, for a sink that nobody has taken over from.
    fn fenced(
        &self,
        generation: Generation,
        attempted: &str,
    ) -> Result<MutexGuard<'_, Table>, SinkError> {
        let table = lock(&self.shared);
        if table.generation > Some(generation) {
            return Err(SinkError::Fenced {
                attempted: attempted.to_owned(),
            });
        }
        Ok(table)
    }

    /// The visible rows, in the order in which they became so.
    pub fn batches(&self) -> Vec<RecordBatch> {
        lock(&self.shared).visible.clone()
    }

    /// The visible rows as JSON objects.
    pub fn rows(&self) -> Vec<serde_json::Value> {
        let mut lines = Vec::new();
        for batch in self.batches() {
            append_json_lines(&batch, &mut lines).expect("rows of a test have types JSON knows");
        }
        let rows = serde_json::Deserializer::from_slice(&lines).into_iter();
        rows.map(|row| row.expect("what was written as JSON is JSON"))
            .collect()
    }

    /// Number of staged files that nobody has committed.
    pub fn orphans(&self) -> usize {
        lock(&self.shared)
            .staged
            .values()
            .filter(|staged| !staged.visible)
            .count()
    }

    /// How far a source's partition has been sent by sinks ahead of the checkpoint.
    pub fn cursor(&self, source: SourceId, partition: Partition) -> Option<Offset> {
        lock(&self.shared)
            .cursors
            .get(&(source, partition))
            .copied()
    }
}

impl Table {
    fn stage(&mut self, rows: Vec<RecordBatch>) -> u64 {
        let id = self.staged.last_key_value().map_or(0, |(last, _)| last + 1);
        self.staged.insert(
            id,
            Staged {
                rows,
                visible: false,
            },
        );
        id
    }

    /// Makes a staged file visible, once however often it is asked; returns what it holds.
    fn publish(&mut self, id: u64) -> Result<Committed, SinkError> {
        let staged = self.staged.get_mut(&id);
        let staged = staged.ok_or_else(|| broken(format!("no file {id} was ever staged")))?;
        if !staged.visible {
            staged.visible = true;
            self.visible.extend(staged.rows.iter().cloned());
        }
        Ok(Committed {
            files: 1,
            ..counted(&staged.rows)
        })
    }
}

fn counted(rows: &[RecordBatch]) -> Committed {
    Committed {
        rows: rows.iter().map(|batch| batch.num_rows() as u64).sum(),
        files: 0,
        bytes: rows
            .iter()
            .map(|batch| batch.get_array_memory_size() as u64)
            .sum(),
        refused: 0,
    }
}

fn broken(reason: String) -> SinkError {
    SinkError::Failed {
        attempted: "keeping to the order of a sink's calls".to_owned(),
        reason,
    }
}

/// See [`MemoryTable::sink`].
pub struct MemorySink {
    table: MemoryTable,
    generation: Generation,
    rows_per_file: usize,
    /// Rows that are not staged yet.
    open: Vec<RecordBatch>,
    restored: Stage,
    /// Work of the last pre-commit, and whether it was committed.
    pre_committed: Option<(Epoch, Option<u64>, bool)>,
}

/// Where in its life a sink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Restorable,
    Used,
    Ended,
}

impl MemorySink {
    fn publish(&self, work: Option<u64>) -> Result<Committed, SinkError> {
        let mut table = self.table.fenced(self.generation, "committing a file")?;
        work.map_or(Ok(Committed::default()), |id| table.publish(id))
    }
}

impl Sink for MemorySink {
    fn restore(
        &mut self,
        permit: &CommitPermit,
        pre_commit: PreCommit,
    ) -> Result<Committed, SinkError> {
        if self.restored != Stage::Restorable {
            return Err(broken(format!(
                "epoch {} restored into a used sink",
                permit.epoch()
            )));
        }
        self.restored = Stage::Used;
        self.open = pre_commit.carried;
        self.publish(pre_commit.work["file"].as_u64())
    }

    fn write(&mut self, rows: OutputRows, _progress: &[Progress]) -> Result<(), SinkError> {
        if self.restored == Stage::Ended {
            return Err(broken("rows after the last pre-commit".to_owned()));
        }
        self.restored = Stage::Used;
        self.open.push(rows.batch);
        Ok(())
    }

    fn poll(&mut self) -> Result<(Committed, Option<Duration>), SinkError> {
        Ok((Committed::default(), None))
    }

    fn pre_commit(&mut self, epoch: Epoch, last: bool) -> Result<PreCommit, SinkError> {
        if let Some((before, _, committed)) = self.pre_committed
            && (!committed || epoch <= before)
        {
            return Err(broken(format!(
                "epoch {epoch} pre-committed before {before} committed"
            )));
        }
        self.restored = if last { Stage::Ended } else { Stage::Used };
        let rows = counted(&self.open).rows as usize;
        let full = rows >= self.rows_per_file || last;
        let mut table = self.table.fenced(self.generation, "staging a file")?;
        let file = (full && rows > 0).then(|| table.stage(std::mem::take(&mut self.open)));
        self.pre_committed = Some((epoch, file, false));
        Ok(PreCommit {
            work: json!({ "file": file }),
            carried: self.open.clone(),
        })
    }

    fn commit(&mut self, permit: &CommitPermit) -> Result<Committed, SinkError> {
        let Some((epoch, file, _)) = self.pre_committed.filter(|(e, ..)| *e == permit.epoch())
        else {
            return Err(broken(format!(
                "epoch {} committed, never pre-committed",
                permit.epoch()
            )));
        };
        let committed = self.publish(file)?;
        self.pre_committed = Some((epoch, file, true));
        Ok(committed)
    }
}

/// See [`MemoryTable::sink_ahead`].
pub struct MemorySinkAhead {
    table: MemoryTable,
    generation: Generation,
    every: Duration,
    clock: Arc<dyn Clock>,
    /// Rows below these offsets were sent by a predecessor.
    sent_before: Cursors,
    /// The open transaction.
    pending: Vec<RecordBatch>,
    progress: Cursors,
    /// When it is committed.
    due: Option<Duration>,
    unreported: Committed,
}

impl MemorySinkAhead {
    /// Rows and cursors change at once, as in a Kafka transaction that carries offsets.
    fn commit_transaction(&mut self) -> Result<(), SinkError> {
        let mut table = self
            .table
            .fenced(self.generation, "committing a transaction")?;
        let rows = std::mem::take(&mut self.pending);
        self.unreported += counted(&rows);
        table.visible.extend(rows);
        for (partition, next) in std::mem::take(&mut self.progress) {
            let cursor = table.cursors.entry(partition).or_insert(next);
            *cursor = next.max(*cursor);
        }
        self.due = None;
        Ok(())
    }

    /// Leaves out what a predecessor has sent, after its last checkpoint: it could not count it.
    fn unsent(&mut self, rows: OutputRows) -> Result<RecordBatch, SinkError> {
        let origin = rows
            .origin
            .ok_or_else(|| broken("rows without origin, ahead of the checkpoint".to_owned()))?;
        let origins = origin.partition.values().iter().zip(origin.offset.values());
        let unsent: BooleanArray = origins
            .map(|(partition, offset)| {
                let cursor = self
                    .sent_before
                    .get(&(origin.source, Partition(*partition)));
                Some(cursor.is_none_or(|cursor| *offset >= cursor.0))
            })
            .collect();
        self.unreported.rows += (unsent.len() - unsent.true_count()) as u64;
        let rows = Rows {
            batch: rows.batch,
            origin,
        };
        Ok(rows
            .filter(&unsent)
            .map_err(|error| broken(error.to_string()))?
            .batch)
    }
}

impl Sink for MemorySinkAhead {
    fn restore(
        &mut self,
        _permit: &CommitPermit,
        _pre_commit: PreCommit,
    ) -> Result<Committed, SinkError> {
        // The cursors tell more than a checkpoint could.
        Ok(Committed::default())
    }

    fn write(&mut self, rows: OutputRows, progress: &[Progress]) -> Result<(), SinkError> {
        let rows = self.unsent(rows)?;
        if rows.num_rows() > 0 {
            self.pending.push(rows);
        }
        for progress in progress {
            self.progress
                .insert((progress.source, progress.partition), progress.next);
        }
        let due = self.clock.monotonic() + self.every;
        self.due.get_or_insert(due);
        Ok(())
    }

    fn poll(&mut self) -> Result<(Committed, Option<Duration>), SinkError> {
        let now = self.clock.monotonic();
        if self.due.is_some_and(|due| due <= now) {
            self.commit_transaction()?;
        }
        let wait = self.due.map(|due| due.saturating_sub(now));
        Ok((std::mem::take(&mut self.unreported), wait))
    }

    fn pre_commit(&mut self, _epoch: Epoch, _last: bool) -> Result<PreCommit, SinkError> {
        self.commit_transaction()?;
        Ok(PreCommit::default())
    }

    fn commit(&mut self, _permit: &CommitPermit) -> Result<Committed, SinkError> {
        Ok(Committed::default())
    }
}

#[cfg(test)]
mod tests;
