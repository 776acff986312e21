//! A pipeline on in-memory stand-ins that survives its own runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use floodmark_engine::checkpoint::CheckpointStore;
use floodmark_engine::clock::{Clock, SystemClock};
use floodmark_engine::runtime::{
    EngineError, Finished, Parts, RunOptions, SinkContext, SinkFactory, SinkSlot, StatusBoard,
    StopSignal, run,
};
use floodmark_engine::sink::{
    CommitPermit, Committed, OutputRows, PreCommit, Progress, Sink, SinkError,
};
use floodmark_engine::source::{Connector, PartitionEvent, RawRecord, Reader, SourceError};
use floodmark_engine::storage::Store;
use floodmark_engine::testing::{MemoryConnector, MemorySink, MemorySource, MemoryTable};
use floodmark_engine::units::{Epoch, Offset, OutputId, Partition};
use floodmark_pipeline::{OnLostPosition, Pipeline, Start};
use floodmark_sql::{Plan, plan};

/// The reference job with checkpoints as often as the store can take them.
const PIPELINE: &str = r#"
name = "job"
[sources.events]
type = "kafka"
brokers = "localhost:9092"
topic = "events"
on_bad_record = "dead_letter"
[sources.events.schema]
device = "STRING"
ts = "TIMESTAMP"
temperature = "DOUBLE"
[sources.events.event_time]
column = "ts"
delay = "10 seconds"
idle_after = "1 hour"
max_future = "5 minutes"
[views]
readings = "SELECT * FROM events WHERE temperature IS NOT NULL"
[outputs.windows]
query = """
SELECT window.start AS start, device, count(*) AS n, avg(temperature) AS mean, max(temperature) AS top
FROM readings GROUP BY window(ts, '1 minute'), device
"""
[outputs.windows.sink]
type = "console"
[outputs.alerts]
query = "SELECT device, ts, temperature FROM readings WHERE temperature > 85"
[outputs.alerts.sink]
type = "console"
[dead_letter]
type = "parquet"
path = "unused-dead"
[late]
type = "parquet"
path = "unused-late"
[checkpoint]
path = "unused-checkpoint"
interval = "3 ms"
[engine]
workers = WORKERS
batch_rows = BATCH_ROWS
"#;

/// A pipeline, its topic and its tables; runs come and go.
pub(crate) struct Rig {
    pub(crate) pipeline: Arc<Pipeline>,
    plan: Arc<Plan>,
    pub(crate) source: MemorySource,
    pub(crate) windows: MemoryTable,
    pub(crate) alerts: MemoryTable,
    pub(crate) dead: MemoryTable,
    pub(crate) late: MemoryTable,
    pub(crate) store: Store,
    /// While it is set, the windows' sink stands still in `write`.
    pub(crate) stuck: Arc<AtomicBool>,
    /// What the newest run says of itself.
    pub(crate) board: StatusBoard,
    tokio: tokio::runtime::Runtime,
    runs: AtomicI64,
}

impl Rig {
    pub(crate) fn new(partitions: i32, workers: usize, batch_rows: usize) -> Self {
        let text = PIPELINE
            .replace("WORKERS", &workers.to_string())
            .replace("BATCH_ROWS", &batch_rows.to_string());
        Self::with(&text, partitions)
    }

    pub(crate) fn with(text: &str, partitions: i32) -> Self {
        let (pipeline, _) = floodmark_pipeline::parse(text, &|_| None).expect("a valid pipeline");
        let plan = plan(&pipeline).expect("valid queries");
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            pipeline: Arc::new(pipeline),
            plan: Arc::new(plan),
            source: MemorySource::new("events", "events", partitions),
            windows: MemoryTable::new(),
            alerts: MemoryTable::new(),
            dead: MemoryTable::new(),
            late: MemoryTable::new(),
            store: Store::in_memory(),
            stuck: Arc::default(),
            board: StatusBoard::new(),
            tokio,
            runs: AtomicI64::new(0),
        }
    }

    /// One run; it dies after `dies_after` records if that is given.
    pub(crate) fn run(
        &self,
        options: RunOptions,
        stop: &StopSignal,
        dies_after: Option<i64>,
    ) -> Result<Finished, EngineError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let connector = self.source.connector(Start::Earliest, OnLostPosition::Fail);
        let lives = Arc::new(AtomicI64::new(dies_after.unwrap_or(i64::MAX)));
        let parts = Parts {
            pipeline: Arc::clone(&self.pipeline),
            plan: Arc::clone(&self.plan),
            connectors: vec![Arc::new(Mortal { connector, lives })],
            sinks: Box::new(Tables {
                windows: self.windows.clone(),
                alerts: self.alerts.clone(),
                dead: self.dead.clone(),
                late: self.late.clone(),
                stuck: Arc::clone(&self.stuck),
                clock: Arc::clone(&clock),
            }),
            checkpoints: CheckpointStore::new(self.store.clone(), 3),
            clock,
            tokio: self.tokio.handle().clone(),
            instance: format!("run-{}", self.runs.fetch_add(1, Ordering::Relaxed)),
        };
        run(parts, options, stop, &self.board)
    }

    /// Runs to the end of the topic and closes all windows.
    pub(crate) fn finish(&self) -> Finished {
        let options = RunOptions {
            until_caught_up: true,
            close_windows: true,
        };
        self.run(options, &StopSignal::new(), None)
            .expect("the last run succeeds")
    }
}

struct Tables {
    windows: MemoryTable,
    alerts: MemoryTable,
    dead: MemoryTable,
    late: MemoryTable,
    stuck: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
}

impl SinkFactory for Tables {
    fn open(&mut self, slot: SinkSlot, run: &SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        let ahead = |table: &MemoryTable| -> Box<dyn Sink> {
            let every = Duration::from_millis(1);
            Box::new(table.sink_ahead(run.generation, every, Arc::clone(&self.clock)))
        };
        Ok(match slot {
            // Files of at least four rows: smaller ones are carried by checkpoints.
            SinkSlot::Output(OutputId(0)) => Box::new(MayStick {
                sink: self.windows.sink(run.generation, 4),
                stuck: Arc::clone(&self.stuck),
            }),
            SinkSlot::Output(_) => ahead(&self.alerts),
            SinkSlot::DeadLetter => ahead(&self.dead),
            SinkSlot::Late => Box::new(self.late.sink(run.generation, 0)),
        })
    }
}

/// A sink that stands still when it is told to.
struct MayStick {
    sink: MemorySink,
    stuck: Arc<AtomicBool>,
}

impl Sink for MayStick {
    fn restore(
        &mut self,
        permit: &CommitPermit,
        pre_commit: PreCommit,
    ) -> Result<Committed, SinkError> {
        self.sink.restore(permit, pre_commit)
    }

    fn write(&mut self, rows: OutputRows, progress: &[Progress]) -> Result<(), SinkError> {
        while self.stuck.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        self.sink.write(rows, progress)
    }

    fn poll(&mut self) -> Result<(Committed, Option<Duration>), SinkError> {
        self.sink.poll()
    }

    fn pre_commit(&mut self, epoch: Epoch, last: bool) -> Result<PreCommit, SinkError> {
        self.sink.pre_commit(epoch, last)
    }

    fn commit(&mut self, permit: &CommitPermit) -> Result<Committed, SinkError> {
        self.sink.commit(permit)
    }
}

/// A connector whose readers fail after a number of records, all together.
struct Mortal {
    connector: MemoryConnector,
    lives: Arc<AtomicI64>,
}

struct MortalReader {
    reader: Box<dyn Reader>,
    lives: Arc<AtomicI64>,
}

impl Reader for MortalReader {
    fn poll(
        &mut self,
        timeout: Duration,
        max: usize,
        on_records: &mut dyn FnMut(&[RawRecord<'_>]),
    ) -> Result<Vec<PartitionEvent>, SourceError> {
        let lives = &self.lives;
        let died = || SourceError::Failed {
            attempted: "reading".to_owned(),
            reason: "the test ends this run".to_owned(),
        };
        if lives.load(Ordering::Relaxed) <= 0 {
            return Err(died());
        }
        self.reader.poll(timeout, max, &mut |records| {
            lives.fetch_sub(records.len() as i64, Ordering::Relaxed);
            on_records(records);
        })
    }

    fn assign(&mut self, partitions: &[(Partition, Offset)]) -> Result<(), SourceError> {
        self.reader.assign(partitions)
    }
}

impl Connector for Mortal {
    fn origin(&self) -> String {
        self.connector.origin()
    }

    fn topic(&self, partition: Partition) -> String {
        self.connector.topic(partition)
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
        let reader = self.connector.reader(positions)?;
        let lives = Arc::clone(&self.lives);
        Ok(Box::new(MortalReader { reader, lives }))
    }

    fn show_positions(&self, positions: &[(Partition, Offset)]) -> Result<(), SourceError> {
        self.connector.show_positions(positions)
    }
}
