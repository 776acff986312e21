//! From the pipeline file's words to real connectors and sinks.
//!
//! The one place that knows which kind of sink keeps which promise: stateless rows and dead letters
//! go to Kafka ahead of checkpoints, window results and late rows go with them, and so do files.

use std::sync::Arc;
use std::time::Duration;

use floodmark_pipeline::{
    DEFAULT_ROLL_INTERVAL, KafkaSink, Pipeline, Sink as SinkSpec, SourceKind,
};
use tokio::runtime::Handle;

use crate::checkpoint::CheckpointStore;
use crate::clock::{Clock, SystemClock};
use crate::runtime::{EngineError, Parts, SinkContext, SinkFactory, SinkSlot};
use crate::sink::console::ConsoleSink;
use crate::sink::kafka::{
    Burial, CursorPlace, CursorSource, KafkaAheadSink, KafkaEpochSink, RecordShape, SinkTarget,
};
use crate::sink::parquet::{ParquetOptions, ParquetSink};
use crate::sink::{Sink, SinkError};
use crate::source::file::{FileConnector, LastLine};
use crate::source::generator::GeneratorConnector;
use crate::source::kafka::KafkaConnector;
use crate::source::{Connector, SourceError};
use crate::storage::Store;
use crate::telemetry::spans::Step;
use crate::telemetry::{Retries, Telemetry};
use crate::units::SourceId;
use floodmark_sql::{OutputKind, OutputPlan, Plan};

/// Name under which dead letters appear in transactional ids, groups and file metadata; no output
/// can be called that.
const DEAD_LETTER: &str = ":dead-letter";
/// The same for late rows.
const LATE: &str = ":late";

/// A name for an instance that no other one has.
pub fn new_instance() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Connects sources and the checkpoint store for an instance of this name; sinks are opened later, by
/// the run. `ends` says that the run ends when it has caught up.
pub fn connect(
    pipeline: Arc<Pipeline>,
    plan: Arc<Plan>,
    instance: String,
    ends: bool,
    tokio: Handle,
    telemetry: Telemetry,
) -> Result<Parts, EngineError> {
    let start = telemetry.clone();
    start.starting(|| open(pipeline, plan, instance, ends, tokio, telemetry))
}

fn open(
    pipeline: Arc<Pipeline>,
    plan: Arc<Plan>,
    instance: String,
    ends: bool,
    tokio: Handle,
    telemetry: Telemetry,
) -> Result<Parts, EngineError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let location = &pipeline.checkpoint.location;
    telemetry.wait_for(
        Step::OpenStore,
        format!("opening the checkpoint store {location}"),
    );
    let retries = telemetry.retries();
    let store = tokio
        .block_on(Store::open_counting(location, &pipeline.storage, retries))
        .map_err(crate::checkpoint::CheckpointError::from)?;
    tokio
        .block_on(store.require_conditional_put(&instance))
        .map_err(crate::checkpoint::CheckpointError::from)?;
    let connectors = pipeline
        .sources
        .iter()
        .map(|source| {
            telemetry.wait_for(Step::OpenSource(&source.name), waits_for(source));
            connector(source, ends, &clock)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let sinks = Sinks {
        pipeline: Arc::clone(&pipeline),
        plan: Arc::clone(&plan),
        connectors: connectors.clone(),
        clock: Arc::clone(&clock),
        tokio: tokio.clone(),
        retries: telemetry.retries().clone(),
    };
    Ok(Parts {
        checkpoints: CheckpointStore::new(store, pipeline.checkpoint.retain),
        pipeline,
        plan,
        connectors,
        sinks: Box::new(sinks),
        clock,
        tokio,
        instance,
        telemetry,
    })
}

/// What a source's connector waits for.
fn waits_for(source: &floodmark_pipeline::Source) -> String {
    let name = &source.name;
    match &source.kind {
        SourceKind::Kafka(kafka) => {
            let (topic, brokers) = (&kafka.topic, &kafka.cluster.brokers);
            format!("source '{name}': no answer yet from {brokers} about topic '{topic}'")
        }
        SourceKind::File(_) | SourceKind::Generator(_) => format!("opening source '{name}'"),
    }
}

/// The outputs of a pipeline that are files, late rows and dead letters included: the name each has
/// in checkpoints, the name its files carry, and where they lie.
pub fn file_outputs(pipeline: &Pipeline) -> Vec<(String, &str, &floodmark_pipeline::ParquetSink)> {
    let outputs = pipeline
        .outputs
        .iter()
        .map(|output| (output.name.clone(), output.name.as_str(), &output.sink));
    let dead = pipeline.dead_letter.as_ref();
    let late = pipeline.late.as_ref();
    let dead = dead.map(|dead| {
        (
            crate::runtime::DEAD_LETTER.to_owned(),
            DEAD_LETTER,
            &dead.sink,
        )
    });
    let late = late.map(|late| (crate::runtime::LATE.to_owned(), LATE, &late.sink));
    let all = outputs.chain(dead).chain(late);
    all.filter_map(|(name, named, sink)| match sink {
        SinkSpec::Parquet(sink) => Some((name, named, sink)),
        _ => None,
    })
    .collect()
}

fn connector(
    source: &floodmark_pipeline::Source,
    ends: bool,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn Connector>, SourceError> {
    let name = &source.name;
    // A run that ends takes a last line as it is; one that goes on waits for its line ending.
    let last_line = if ends {
        LastLine::Finish
    } else {
        LastLine::Follow
    };
    Ok(match &source.kind {
        SourceKind::Kafka(kafka) => Arc::new(KafkaConnector::open(source, kafka)?),
        SourceKind::File(file) => Arc::new(FileConnector::new(
            name,
            file,
            source.start,
            last_line,
            Arc::clone(clock),
        )?),
        SourceKind::Generator(spec) => {
            Arc::new(GeneratorConnector::new(name, spec, Arc::clone(clock))?)
        }
    })
}

struct Sinks {
    pipeline: Arc<Pipeline>,
    plan: Arc<Plan>,
    connectors: Vec<Arc<dyn Connector>>,
    clock: Arc<dyn Clock>,
    tokio: Handle,
    retries: Retries,
}

/// What tells one sink from another beside its place in the pipeline file.
struct Wanted<'a> {
    name: &'a str,
    spec: &'a SinkSpec,
    /// Whether its rows depend on the records alone, so that they may go ahead of checkpoints.
    ahead: bool,
    shape: RecordShape,
    /// How long its small files span checkpoints if the pipeline file does not say.
    roll_interval: Duration,
    schema: arrow::datatypes::SchemaRef,
    partition_by: Vec<(String, Arc<dyn datafusion_physical_expr::PhysicalExpr>)>,
    sources: Vec<SourceId>,
}

impl SinkFactory for Sinks {
    fn open(&mut self, slot: SinkSlot, run: &SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        let pipeline = Arc::clone(&self.pipeline);
        let plan = Arc::clone(&self.plan);
        let all_sources: Vec<SourceId> = (0..pipeline.sources.len()).map(SourceId).collect();
        let wanted = match slot {
            SinkSlot::Output(id) => output(&pipeline.outputs[id.0], &plan.outputs[id.0]),
            SinkSlot::DeadLetter => Wanted {
                name: DEAD_LETTER,
                spec: &pipeline.dead_letter.as_ref().ok_or_else(unplanned)?.sink,
                ahead: true,
                shape: RecordShape::DeadLetter,
                roll_interval: Duration::ZERO,
                schema: crate::dead_letter::schema(),
                partition_by: Vec::new(),
                sources: all_sources,
            },
            SinkSlot::Late => Wanted {
                name: LATE,
                spec: &pipeline.late.as_ref().ok_or_else(unplanned)?.sink,
                ahead: false,
                shape: RecordShape::Json {
                    key: None,
                    headers: Vec::new(),
                },
                roll_interval: Duration::ZERO,
                schema: crate::late::schema(),
                partition_by: Vec::new(),
                sources: all_sources,
            },
        };
        match wanted.spec {
            SinkSpec::Parquet(spec) => self.parquet(spec, wanted, run),
            SinkSpec::Kafka(spec) => self.kafka(spec, wanted, run),
            SinkSpec::Console => Ok(Box::new(ConsoleSink::new(std::io::stdout()))),
        }
    }
}

fn unplanned() -> SinkError {
    SinkError::Failed {
        attempted: "opening a sink".to_owned(),
        reason: "the pipeline file names none".to_owned(),
    }
}

fn output<'a>(spec: &'a floodmark_pipeline::Output, plan: &OutputPlan) -> Wanted<'a> {
    let stateless = matches!(plan.kind, OutputKind::Stateless);
    Wanted {
        name: &spec.name,
        spec: &spec.sink,
        ahead: stateless,
        // Windows fire in bursts: waiting longer would not make their files larger.
        roll_interval: if stateless {
            DEFAULT_ROLL_INTERVAL
        } else {
            Duration::ZERO
        },
        shape: RecordShape::Json {
            key: plan.key.clone(),
            headers: plan.headers.clone(),
        },
        schema: Arc::clone(&plan.schema),
        partition_by: plan.partition_by.clone(),
        sources: vec![plan.source],
    }
}

impl Sinks {
    fn parquet(
        &self,
        spec: &floodmark_pipeline::ParquetSink,
        wanted: Wanted<'_>,
        run: &SinkContext,
    ) -> Result<Box<dyn Sink>, SinkError> {
        let options = ParquetOptions {
            pipeline: &self.pipeline.name,
            output: wanted.name,
            sink: spec,
            roll_interval: spec.roll_interval.unwrap_or(wanted.roll_interval),
            schema: wanted.schema,
            partition_by: wanted.partition_by,
            generation: run.generation,
            instance: &run.instance,
            clock: Arc::clone(&self.clock),
            retries: &self.retries,
        };
        let storage = &self.pipeline.storage;
        Ok(Box::new(ParquetSink::open(
            options,
            storage,
            self.tokio.clone(),
        )?))
    }

    fn kafka(
        &self,
        spec: &KafkaSink,
        wanted: Wanted<'_>,
        run: &SinkContext,
    ) -> Result<Box<dyn Sink>, SinkError> {
        let target = SinkTarget {
            pipeline: self.pipeline.name.clone(),
            output: wanted.name.to_owned(),
            lineage: run.lineage.clone(),
            cluster: spec.cluster.clone(),
            topic: spec.topic.clone(),
            commit_interval: spec.commit_interval,
            retries: self.retries.clone(),
        };
        if !wanted.ahead {
            return Ok(Box::new(KafkaEpochSink::open(target, wanted.shape)?));
        }
        let cursors = wanted
            .sources
            .iter()
            .map(|id| self.cursor(*id, spec, run))
            .collect::<Vec<_>>();
        let is_output = matches!(wanted.shape, RecordShape::Json { .. });
        let mut sink = KafkaAheadSink::open(target, wanted.shape, &cursors)?;
        if is_output && let Some(burial) = self.burial(spec) {
            sink = sink.with_burial(burial)?;
        }
        Ok(Box::new(sink))
    }

    /// Where rows go that are too large for a topic: one transaction can hold them and their dead
    /// letters only if both topics are on one cluster.
    fn burial(&self, spec: &KafkaSink) -> Option<Burial> {
        let SinkSpec::Kafka(dead) = &self.pipeline.dead_letter.as_ref()?.sink else {
            return None;
        };
        let connectors = self.connectors.clone();
        (dead.cluster == spec.cluster).then(|| Burial {
            topic: dead.topic.clone(),
            origin: Arc::new(move |source, partition| connectors[source.0].topic(partition)),
        })
    }

    /// Where a sink keeps how far it has evaluated a source.
    fn cursor(&self, id: SourceId, spec: &KafkaSink, run: &SinkContext) -> CursorSource {
        let source = &self.pipeline.sources[id.0];
        let place = match &source.kind {
            SourceKind::Kafka(kafka) if kafka.cluster == spec.cluster => {
                CursorPlace::Topic(kafka.topic.clone())
            }
            _ => CursorPlace::Note(source.name.clone()),
        };
        CursorSource {
            source: id,
            place,
            renewed: run.renewed.get(&id).cloned().unwrap_or_default(),
        }
    }
}
