//! Runs that die: nothing they had begun is ended in order, as if by SIGKILL.
//!
//! A dead run's readers and sinks refuse every call, and its sinks are never dropped: a Kafka producer
//! with an open transaction is not told, an upload is not taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use floodmark_engine::runtime::{Parts, SinkContext, SinkFactory, SinkSlot};
use floodmark_engine::sink::{
    CommitPermit, Committed, OutputRows, PreCommit, Progress, Sink, SinkError,
};
use floodmark_engine::source::{Connector, PartitionEvent, RawRecord, Reader, SourceError};
use floodmark_engine::units::{Epoch, Offset, Partition};

/// When a run dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// After so many records have been read.
    AfterRecords(i64),
    /// At the so-manyth step of its sinks: before they are asked to write, pre-commit or commit, or
    /// after they have done the latter two and before anyone knows.
    AtSinkStep(i64),
}

/// What is left of a run's life.
#[derive(Clone)]
struct Life {
    records: Arc<AtomicI64>,
    steps: Arc<AtomicI64>,
    over: Arc<AtomicBool>,
}

/// The same run, which dies unless it ends before.
pub(crate) fn until(death: Death, mut parts: Parts) -> Parts {
    let (records, steps) = match death {
        Death::AfterRecords(records) => (records, i64::MAX),
        Death::AtSinkStep(steps) => (i64::MAX, steps),
    };
    let life = Life {
        records: Arc::new(AtomicI64::new(records)),
        steps: Arc::new(AtomicI64::new(steps)),
        over: Arc::new(AtomicBool::new(false)),
    };
    let mortal = |connector: Arc<dyn Connector>| -> Arc<dyn Connector> {
        Arc::new(MortalConnector {
            connector,
            life: life.clone(),
        })
    };
    parts.connectors = parts.connectors.into_iter().map(mortal).collect();
    parts.sinks = Box::new(MortalSinks {
        sinks: parts.sinks,
        life,
    });
    parts
}

impl Life {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn read(&self, records: usize) {
        self.records.fetch_sub(records as i64, Ordering::SeqCst);
    }

    fn reads_on(&self) -> Result<(), SourceError> {
        if self.records.load(Ordering::SeqCst) <= 0 {
            self.over.store(true, Ordering::SeqCst);
        }
        if self.is_over() {
            return Err(SourceError::Failed {
                attempted: "reading".to_owned(),
                reason: "the test ends this run".to_owned(),
            });
        }
        Ok(())
    }

    fn step(&self) -> Result<(), SinkError> {
        if self.steps.fetch_sub(1, Ordering::SeqCst) <= 0 {
            self.over.store(true, Ordering::SeqCst);
        }
        if self.is_over() {
            return Err(SinkError::Failed {
                attempted: "writing".to_owned(),
                reason: "the test ends this run".to_owned(),
            });
        }
        Ok(())
    }
}

struct MortalSinks {
    sinks: Box<dyn SinkFactory>,
    life: Life,
}

impl SinkFactory for MortalSinks {
    fn open(&mut self, slot: SinkSlot, run: &SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(MortalSink {
            sink: Some(self.sinks.open(slot, run)?),
            life: self.life.clone(),
        }))
    }
}

struct MortalSink {
    /// There until the drop.
    sink: Option<Box<dyn Sink>>,
    life: Life,
}

impl MortalSink {
    fn sink(&mut self) -> &mut dyn Sink {
        self.sink.as_mut().expect("a sink until the drop").as_mut()
    }
}

impl Drop for MortalSink {
    fn drop(&mut self) {
        if self.life.is_over() {
            std::mem::forget(self.sink.take());
        }
    }
}

impl Sink for MortalSink {
    fn restore(
        &mut self,
        permit: &CommitPermit,
        pre_commit: PreCommit,
    ) -> Result<Committed, SinkError> {
        self.life.step()?;
        let committed = self.sink().restore(permit, pre_commit)?;
        self.life.step()?;
        Ok(committed)
    }

    fn write(&mut self, rows: OutputRows, progress: &[Progress]) -> Result<(), SinkError> {
        self.life.step()?;
        self.sink().write(rows, progress)
    }

    fn poll(&mut self) -> Result<(Committed, Option<Duration>), SinkError> {
        if self.life.is_over() {
            self.life.step()?;
        }
        self.sink().poll()
    }

    fn describe_offsets(&mut self, offsets: &str) {
        self.sink().describe_offsets(offsets);
    }

    fn pre_commit(&mut self, epoch: Epoch, last: bool) -> Result<PreCommit, SinkError> {
        self.life.step()?;
        let work = self.sink().pre_commit(epoch, last)?;
        self.life.step()?;
        Ok(work)
    }

    fn commit(&mut self, permit: &CommitPermit) -> Result<Committed, SinkError> {
        self.life.step()?;
        let committed = self.sink().commit(permit)?;
        self.life.step()?;
        Ok(committed)
    }
}

struct MortalReader {
    reader: Box<dyn Reader>,
    life: Life,
}

impl Reader for MortalReader {
    fn poll(
        &mut self,
        timeout: Duration,
        max: usize,
        on_records: &mut dyn FnMut(&[RawRecord<'_>]),
    ) -> Result<Vec<PartitionEvent>, SourceError> {
        self.life.reads_on()?;
        let life = &self.life;
        self.reader.poll(timeout, max, &mut |records| {
            life.read(records.len());
            on_records(records);
        })
    }

    fn assign(&mut self, partitions: &[(Partition, Offset)]) -> Result<(), SourceError> {
        self.reader.assign(partitions)
    }
}

/// A connector whose readers end with the run.
struct MortalConnector {
    connector: Arc<dyn Connector>,
    life: Life,
}

impl Connector for MortalConnector {
    fn origin(&self) -> String {
        self.connector.origin()
    }

    fn topic(&self, partition: Partition) -> String {
        self.connector.topic(partition)
    }

    fn adopt(&self, names: &[(Partition, String)]) {
        self.connector.adopt(names);
    }

    fn partitions(&self) -> Result<Vec<Partition>, SourceError> {
        self.connector.partitions()
    }

    fn start(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Offset)>, SourceError> {
        self.connector.start(partitions)
    }

    fn start_of_new(
        &self,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, Offset)>, SourceError> {
        self.connector.start_of_new(partitions)
    }

    fn resume(
        &self,
        positions: &[(Partition, Offset)],
    ) -> Result<Vec<(Partition, Offset)>, SourceError> {
        self.connector.resume(positions)
    }

    fn ends(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Offset)>, SourceError> {
        self.connector.ends(partitions)
    }

    fn reader(&self, positions: &[(Partition, Offset)]) -> Result<Box<dyn Reader>, SourceError> {
        Ok(Box::new(MortalReader {
            reader: self.connector.reader(positions)?,
            life: self.life.clone(),
        }))
    }

    fn show_positions(&self, positions: &[(Partition, Offset)]) -> Result<(), SourceError> {
        self.connector.show_positions(positions)
    }
}
