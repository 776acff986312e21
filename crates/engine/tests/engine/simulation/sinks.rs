//! The sinks of an instance, each a task with a queue, as each is a thread in production.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{Int32Array, Int64Array, UInt32Array};
use bytes::Bytes;
use floodmark_engine::checkpoint::{CheckpointStore, Claimed};
use floodmark_engine::rows::Origin;
use floodmark_engine::runtime::{EngineError, SinkId};
use floodmark_engine::sink::kafka::{
    CursorPlace, CursorSource, KafkaAheadSink, KafkaEpochSink, Marks, RecordShape, SinkTarget,
};
use floodmark_engine::sink::parquet::protocol::{
    CarriedFile, Encoded, Names, StagedFile, StagedWork, stage,
};
use floodmark_engine::sink::{CommitPermit, OutputRows, PreCommit, Progress, Sink, SinkError};
use floodmark_engine::storage::Store;
use floodmark_engine::units::{Epoch, Generation, Offset, Partition, SourceId};
use floodmark_pipeline::KafkaCluster;
use rand::Rng;
use tokio::sync::mpsc;

use super::bucket;
use super::instance::{ALERTS, CURATED, LATE, Said, batch, fenced, rows_of};
use super::kafka;
use super::world::{InstanceId, Shared};

/// What a sink is told.
pub(super) enum SinkCommand {
    Rows {
        partition: usize,
        /// Offset of the first of them.
        from: usize,
        rows: Vec<usize>,
    },
    PreCommit {
        epoch: Epoch,
        last: bool,
    },
    Commit(CommitPermit),
}

/// Runs a task for as long as the instance lives.
pub(super) fn spawn(
    world: &Shared,
    id: InstanceId,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let task = tokio::spawn(work);
    world.lock().tasks[id.0].push(task.abort_handle());
}

/// Opens all sinks, in the order of production, and restores what the claimed manifest says.
pub(super) async fn open(
    world: &Shared,
    id: InstanceId,
    name: &str,
    claimed: &Claimed,
    store: &mut CheckpointStore,
    inbox: &mpsc::Sender<Said>,
) -> Result<Vec<mpsc::Sender<SinkCommand>>, EngineError> {
    let mut queues = Vec::new();
    for (index, output) in [CURATED, ALERTS, LATE].into_iter().enumerate() {
        world.turn(id).await;
        if let Some(successor) = claimed.successor(store).await? {
            return Err(fenced(&successor.instance));
        }
        // It may sleep here, and be replaced.
        world.doze(id).await;
        let opened = match output {
            CURATED => Ok(AnySink::Files(Files::open(world, id, name, claimed))),
            ALERTS => ahead(world, id, claimed),
            _ => epoch(world, id, claimed),
        };
        let mut sink = opened.map_err(|error| of_sink(output, error))?;
        if let Some((permit, state)) = claimed.work(output) {
            let mut carried = Vec::new();
            if let Some(file) = &state.carried {
                carried = store.state(file, &claimed.manifest().files[file]).await?;
            }
            let work = state.work.clone();
            world.turn(id).await;
            let restored = sink.restore(&permit, PreCommit { work, carried }).await;
            restored.map_err(|error| of_sink(output, error))?;
        }
        let (queue, commands) = mpsc::channel(64);
        let serve = serve(
            world.clone(),
            id,
            (SinkId(index), output),
            sink,
            commands,
            inbox.clone(),
        );
        spawn(world, id, serve);
        queues.push(queue);
    }
    Ok(queues)
}

fn of_sink(output: &str, cause: SinkError) -> EngineError {
    EngineError::Sink {
        sink: output.to_owned(),
        cause,
    }
}

async fn serve(
    world: Shared,
    id: InstanceId,
    (sink_id, output): (SinkId, &'static str),
    mut sink: AnySink,
    mut commands: mpsc::Receiver<SinkCommand>,
    inbox: mpsc::Sender<Said>,
) {
    while let Some(command) = commands.recv().await {
        world.turn(id).await;
        let said = match sink.handle(sink_id, command).await {
            Ok(None) => continue,
            Ok(Some(said)) => said,
            Err(error) => Said::Failed(of_sink(output, error)),
        };
        let is_over = matches!(said, Said::Failed(_));
        if inbox.send(said).await.is_err() || is_over {
            return;
        }
    }
}

enum AnySink {
    Files(Files),
    Kafka(Box<dyn Sink>),
}

impl AnySink {
    async fn restore(&mut self, permit: &CommitPermit, work: PreCommit) -> Result<(), SinkError> {
        match self {
            Self::Files(files) => files.restore(permit, work).await,
            Self::Kafka(sink) => sink.restore(permit, work).map(drop),
        }
    }

    async fn handle(
        &mut self,
        id: SinkId,
        command: SinkCommand,
    ) -> Result<Option<Said>, SinkError> {
        Ok(match command {
            SinkCommand::Rows {
                partition,
                from,
                rows,
            } => {
                match self {
                    Self::Files(files) => files.write(rows).await?,
                    Self::Kafka(sink) => {
                        write(sink.as_mut(), partition, from, &rows)?;
                        // What is due by time is due at any time.
                        sink.poll()?;
                    }
                }
                None
            }
            SinkCommand::PreCommit { epoch, last } => {
                let work = match self {
                    Self::Files(files) => files.pre_commit(epoch, last).await?,
                    Self::Kafka(sink) => sink.pre_commit(epoch, last)?,
                };
                Some(Said::PreCommitted(id, work))
            }
            SinkCommand::Commit(permit) => {
                match self {
                    Self::Files(files) => files.commit(&permit).await?,
                    Self::Kafka(sink) => sink.commit(&permit).map(drop)?,
                }
                Some(Said::Committed(id))
            }
        })
    }
}

fn write(
    sink: &mut dyn Sink,
    partition: usize,
    from: usize,
    rows: &[usize],
) -> Result<(), SinkError> {
    let count = rows.len();
    let origin = Origin {
        source: SourceId(0),
        partition: Int32Array::from(vec![partition as i32; count]),
        offset: Int64Array::from_iter_values((from..from + count).map(|at| at as i64)),
        timestamp: Int64Array::from(vec![0; count]),
        row: UInt32Array::from_iter_values(0..count as u32),
    };
    let rows = OutputRows {
        batch: batch(rows),
        origin: Some(origin),
    };
    let progress = Progress {
        source: SourceId(0),
        partition: Partition(partition as i32),
        next: Offset((from + count) as i64),
    };
    sink.write(rows, &[progress])
}

/// The Parquet sink without Parquet: its names, its staged work, its carried rows.
struct Files {
    world: Shared,
    id: InstanceId,
    generation: Generation,
    store: Store,
    names: Names,
    work: StagedWork,
    open: Vec<usize>,
    staged: Vec<StagedFile>,
    cleaned: bool,
}

impl Files {
    fn open(world: &Shared, id: InstanceId, name: &str, claimed: &Claimed) -> Self {
        let store = bucket::store(world, id, "output");
        let generation = claimed.manifest().generation;
        Self {
            world: world.clone(),
            id,
            generation,
            names: Names::new("simulated", CURATED, generation, name, ".rows"),
            work: StagedWork::new(CURATED, store.clone()),
            store,
            open: Vec::new(),
            staged: Vec::new(),
            cleaned: false,
        }
    }

    async fn restore(&mut self, permit: &CommitPermit, work: PreCommit) -> Result<(), SinkError> {
        let listed = self.work.read(work.work)?;
        self.work.restore(permit, &listed).await?;
        self.names.begin(permit.epoch().next());
        self.open = work.carried.iter().flat_map(rows_of).collect();
        Ok(())
    }

    async fn commit(&mut self, permit: &CommitPermit) -> Result<(), SinkError> {
        self.work.commit(permit).await?;
        if !std::mem::replace(&mut self.cleaned, true) {
            self.clean_leftovers();
        }
        Ok(())
    }

    /// Removes what dead instances left, beside the work. Production waits for a day; here nothing is
    /// too young, so that only whose it is keeps it.
    fn clean_leftovers(&self) {
        let store = self.store.clone();
        let dead = Names::before("simulated", CURATED, self.generation);
        spawn(&self.world, self.id, async move {
            // What is not removed now is removed by the next instance.
            let _ = store.clean_leftovers("", bucket::later(), dead).await;
        });
    }

    async fn write(&mut self, rows: Vec<usize>) -> Result<(), SinkError> {
        self.open.extend(rows);
        // A file that is big enough is closed at any time.
        let full = self.world.lock().rng.random_range(0..4) == 0;
        if full { self.close().await } else { Ok(()) }
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        let rows = std::mem::take(&mut self.open);
        if rows.is_empty() {
            return Ok(());
        }
        let name = self.names.next("");
        self.world.lock().observer.staging(&name, &rows);
        let bytes: Vec<u8> = rows
            .iter()
            .flat_map(|row| (*row as u32).to_le_bytes())
            .collect();
        let file = Encoded {
            name,
            rows: rows.len() as u64,
            begun: None,
            bytes: Bytes::from(bytes),
        };
        self.staged.push(stage(&self.store, file).await?);
        Ok(())
    }

    async fn pre_commit(&mut self, epoch: Epoch, last: bool) -> Result<PreCommit, SinkError> {
        self.names.begin(epoch);
        if last || self.world.lock().rng.random() {
            self.close().await?;
        }
        let carried = (!self.open.is_empty()).then(|| batch(&self.open));
        let open = carried.iter().map(|_| CarriedFile {
            directory: String::new(),
            opened_ms: 0,
        });
        let files = std::mem::take(&mut self.staged);
        let work = self.work.pre_commit(epoch, files, open.collect())?;
        self.names.begin(epoch.next());
        Ok(PreCommit {
            work,
            carried: carried.into_iter().collect(),
        })
    }
}

fn target(output: &str, claimed: &Claimed) -> SinkTarget {
    SinkTarget {
        pipeline: "simulated".to_owned(),
        output: output.to_owned(),
        lineage: claimed.manifest().lineage.clone(),
        cluster: KafkaCluster {
            brokers: "simulated".to_owned(),
            properties: BTreeMap::new(),
        },
        topic: output.to_owned(),
        commit_interval: Duration::ZERO,
        retries: floodmark_engine::telemetry::Retries::default(),
    }
}

fn shape() -> RecordShape {
    RecordShape::Json {
        key: None,
        headers: Vec::new(),
    }
}

fn ahead(world: &Shared, id: InstanceId, claimed: &Claimed) -> Result<AnySink, SinkError> {
    let source = CursorSource {
        source: SourceId(0),
        place: CursorPlace::Topic("topic".to_owned()),
        renewed: BTreeMap::new(),
    };
    let connect =
        &mut |target: &SinkTarget, marks: Marks<'_>| kafka::open(world, id, target, marks);
    let sink = KafkaAheadSink::over(target(ALERTS, claimed), shape(), &[source], connect)?;
    Ok(AnySink::Kafka(Box::new(sink)))
}

fn epoch(world: &Shared, id: InstanceId, claimed: &Claimed) -> Result<AnySink, SinkError> {
    let connect =
        &mut |target: &SinkTarget, marks: Marks<'_>| kafka::open(world, id, target, marks);
    let sink = KafkaEpochSink::over(target(LATE, claimed), shape(), connect)?;
    Ok(AnySink::Kafka(Box::new(sink)))
}
