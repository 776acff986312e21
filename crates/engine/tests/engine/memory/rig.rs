//! A pipeline on in-memory stand-ins that survives its own runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use floodmark_engine::checkpoint::CheckpointStore;
use floodmark_engine::clock::{Clock, SystemClock};
use floodmark_engine::runtime::{
    EngineError, Finished, Parts, RunOptions, SinkContext, SinkFactory, SinkSlot, StatusBoard,
    StopSignal, run,
};
use floodmark_engine::sink::{
    CommitPermit, Committed, OutputRows, PreCommit, Progress, Sink, SinkError,
};
use floodmark_engine::storage::Store;
use floodmark_engine::telemetry::Telemetry;
use floodmark_engine::testing::{MemorySink, MemorySource, MemoryTable};
use floodmark_engine::units::{Epoch, OutputId, Partition};
use floodmark_pipeline::{OnLostPosition, Pipeline, Start};
use floodmark_sql::{Plan, plan};

use crate::events::{Event, records};
use crate::model::{DeadLetter, Nulls, Record, SOURCE, Seen, verify};
use crate::mortal::{self, Death};

/// The reference job with checkpoints as often as the store can take them; devices and times may be
/// null.
const PIPELINE: &str = r#"
name = "job"
[sources.sensor_events]
type = "kafka"
brokers = "localhost:9092"
topic = "sensor_events"
on_bad_record = "dead_letter"
[sources.sensor_events.schema]
device_id = "STRING"
ts = "TIMESTAMP"
temperature_c = "DOUBLE"
vibration_g = "DOUBLE"
[sources.sensor_events.event_time]
column = "ts"
delay = "10 seconds"
idle_after = "1 hour"
max_future = "5 minutes"
[views]
readings = "SELECT * FROM sensor_events WHERE temperature_c IS NOT NULL OR vibration_g IS NOT NULL"
[outputs.curated]
query = """
SELECT window.start AS window_start, window.end AS window_end, device_id,
       count(*) AS events, avg(temperature_c) AS avg_temperature_c, max(vibration_g) AS max_vibration_g
FROM readings GROUP BY window(ts, '1 minute'), device_id
"""
[outputs.curated.sink]
type = "console"
[outputs.alerts]
query = """
SELECT device_id, ts, temperature_c, vibration_g
FROM readings WHERE temperature_c > 85 OR vibration_g > 0.5
"""
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
            source: MemorySource::new(SOURCE, "sensor_events", partitions),
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

    /// One run; it dies if that is given.
    pub(crate) fn run(
        &self,
        options: RunOptions,
        stop: &StopSignal,
        death: Option<Death>,
    ) -> Result<Finished, EngineError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let connector = self.source.connector(Start::Earliest, OnLostPosition::Fail);
        let parts = Parts {
            pipeline: Arc::clone(&self.pipeline),
            plan: Arc::clone(&self.plan),
            connectors: vec![Arc::new(connector)],
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
            telemetry: Telemetry::new(0),
        };
        let parts = match death {
            Some(death) => mortal::until(death, parts),
            None => parts,
        };
        run(parts, options, stop, &self.board)
    }

    /// Writes a record to the topic.
    pub(crate) fn append(&self, record: &Record) {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        self.source
            .append(Partition(record.partition), -1, key, value);
    }

    /// Compares what became visible with what the events demand.
    pub(crate) fn verify(&self, events: &[Event], finished: &Finished) {
        let seen = Seen {
            windows: self.windows.rows(),
            alerts: self.alerts.rows(),
            late: self.late.rows(),
            dead: self.dead.batches().iter().flat_map(dead_letters).collect(),
            shown: self.source.shown(),
        };
        verify(Nulls::Allowed, &records(events), &seen, finished);
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

fn dead_letters(batch: &RecordBatch) -> Vec<DeadLetter> {
    let column = |name| batch.column_by_name(name).expect("a dead letter's column");
    let bytes = |name, row| {
        let column = column(name).as_binary::<i32>();
        column.is_valid(row).then(|| column.value(row).to_vec())
    };
    let letter = |row| DeadLetter {
        place: (
            column("partition").as_primitive::<Int32Type>().value(row),
            column("offset").as_primitive::<Int64Type>().value(row),
        ),
        key: bytes("key", row),
        value: bytes("value", row),
        reason: column("reason").as_string::<i32>().value(row).to_owned(),
        truncated_from: None,
    };
    (0..batch.num_rows()).map(letter).collect()
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
