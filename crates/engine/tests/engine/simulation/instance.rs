//! One instance of the pipeline: the coordinator's part. What it does with the world is production
//! code: [`claim`], [`CheckpointStore`], [`Round`], the Kafka sinks, and the protocol of the Parquet
//! sink. What stands in for the rest is a log of numbered rows and windows of a few offsets each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use floodmark_engine::checkpoint::{
    CheckpointStore, ChunkRef, ClaimError, Expected, Manifest, PartitionState, SourceState,
    StateFile, Stored, claim,
};
use floodmark_engine::ledger::{Ledger, OutputLedger};
use floodmark_engine::runtime::{EngineError, Frozen, Next, Round, SinkId, blame};
use floodmark_engine::sink::{Committed, PreCommit};
use floodmark_engine::units::{Epoch, EventMicros, Generation, Offset, Partition};
use rand::Rng;
use tokio::sync::mpsc;

use super::bucket;
use super::sinks::{self, SinkCommand};
use super::world::{InstanceId, Shared};

pub(super) const SOURCE: &str = "events";
/// Rows through windows to files.
pub(super) const CURATED: &str = "curated";
/// Rows to Kafka, ahead of checkpoints.
pub(super) const ALERTS: &str = "alerts";
/// Rows to Kafka, with checkpoints.
pub(super) const LATE: &str = "late";

/// Offsets of a window.
const WINDOW: usize = 2;

/// How an instance ended.
#[derive(Debug)]
pub(super) enum End {
    /// Everything was read and committed.
    Finished,
    /// Another instance has taken over.
    Fenced,
    /// Its producers were fenced, but nobody has taken over: a restart goes on.
    Ousted,
    /// The world was too hostile.
    Failed(String),
}

impl From<EngineError> for End {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Ousted { .. } => Self::Ousted,
            error if error.is_fenced() => Self::Fenced,
            error => Self::Failed(error.to_string()),
        }
    }
}

/// What sinks and the store say to the coordinator.
pub(super) enum Said {
    PreCommitted(SinkId, PreCommit),
    Committed(SinkId),
    Stored(CheckpointStore, Box<Manifest>, Stored),
    Collected(CheckpointStore),
    Failed(EngineError),
}

/// Rows as a batch.
pub(super) fn batch(rows: &[usize]) -> RecordBatch {
    let rows = Int64Array::from_iter_values(rows.iter().map(|row| *row as i64));
    RecordBatch::try_from_iter([("row", Arc::new(rows) as _)]).expect("one column")
}

/// The rows of a batch.
pub(super) fn rows_of(batch: &RecordBatch) -> Vec<usize> {
    let rows = batch.column(0).as_primitive::<Int64Type>().values();
    rows.iter().map(|row| *row as usize).collect()
}

/// A piece of an open window, and where a checkpoint has stored it.
struct Chunk {
    batch: RecordBatch,
    stored: Option<ChunkRef>,
}

struct Instance {
    world: Shared,
    id: InstanceId,
    name: String,
    generation: Generation,
    lineage: String,
    epoch: Epoch,
    files: BTreeMap<String, StateFile>,
    /// Away while a task uses it.
    store: Option<CheckpointStore>,
    positions: Vec<usize>,
    windows: BTreeMap<usize, Vec<Chunk>>,
    /// Everything before this window has fired.
    fired: usize,
    round: Option<Round>,
    queues: Vec<mpsc::Sender<SinkCommand>>,
    inbox: mpsc::Receiver<Said>,
    to_self: mpsc::Sender<Said>,
    draining: bool,
    /// Whether it ends with all windows fired.
    close_windows: bool,
}

/// Runs an instance to its end.
pub(super) async fn run(world: Shared, id: InstanceId, until_end: bool) -> End {
    let mut claimed = None;
    let error = match live(world, id, until_end, &mut claimed).await {
        Ok(()) => return End::Finished,
        Err(error) => error,
    };
    match claimed {
        None => error.into(),
        Some(mut store) => blame(error, &mut store, &name(id)).await.into(),
    }
}

/// The name of an instance.
pub(super) fn name(id: InstanceId) -> String {
    format!("instance-{}", id.0)
}

async fn live(
    world: Shared,
    id: InstanceId,
    until_end: bool,
    claimed: &mut Option<CheckpointStore>,
) -> Result<(), EngineError> {
    let mut instance = start(world, id, claimed).await?;
    instance.close_windows = until_end;
    instance.serve(until_end).await
}

/// Claims the checkpoint, opens the sinks, restores the windows. Leaves the store in `reader` once the
/// checkpoint is claimed: from then on an error may be another instance's doing.
async fn start(
    world: Shared,
    id: InstanceId,
    reader: &mut Option<CheckpointStore>,
) -> Result<Instance, EngineError> {
    let name = name(id);
    let (retain, partitions) = {
        let mut world = world.lock();
        (world.rng.random_range(1..4), world.observer.partitions())
    };
    let mut store = CheckpointStore::new(bucket::store(&world, id, "checkpoint"), retain);
    let expected = Expected {
        pipeline: "simulated".to_owned(),
        sources: [(SOURCE.to_owned(), "topic".to_owned())].into(),
        windows: [(CURATED.to_owned(), "query".to_owned())].into(),
        sinks: [CURATED, ALERTS, LATE].map(str::to_owned).into(),
    };
    let sources = |found: Option<&Manifest>| {
        let positions: Vec<usize> = found.map_or(vec![0; partitions], |found| {
            let partitions = found.sources[SOURCE].partitions.values();
            partitions.map(|state| state.next.0 as usize).collect()
        });
        let states = [(SOURCE.to_owned(), source_state(&positions))].into();
        Ok::<_, EngineError>((states, positions))
    };
    let claimed = claim(&mut store, &expected, &name, || 0, sources).await;
    let (claimed, positions) = claimed.map_err(|error| match error {
        ClaimError::GaveWay { to } => fenced(&to.instance),
        ClaimError::Outpaced => fenced("the one that runs"),
        ClaimError::Checkpoint(error) => error.into(),
        ClaimError::Sources(error) => error,
        ClaimError::Incompatible { differences } => EngineError::Incompatible { differences },
    })?;
    *reader = Some(store.reader());
    let (to_self, inbox) = mpsc::channel(64);
    let queues = sinks::open(&world, id, &name, &claimed, &mut store, &to_self).await?;
    let manifest = claimed.into_manifest();
    let (windows, fired) = restore_windows(&manifest, &store).await?;
    Ok(Instance {
        world,
        id,
        name,
        generation: manifest.generation,
        lineage: manifest.lineage,
        epoch: manifest.epoch,
        files: manifest.files,
        store: Some(store),
        positions,
        windows,
        fired,
        round: None,
        queues,
        inbox,
        to_self,
        draining: false,
        close_windows: false,
    })
}

/// Another instance has taken over.
pub(super) fn fenced(by: &str) -> EngineError {
    EngineError::Fenced { by: by.to_owned() }
}

/// A manifest that says where the source stands, and nothing else yet.
pub(super) fn manifest(
    epoch: Epoch,
    generation: Generation,
    instance: &str,
    lineage: &str,
    positions: &[usize],
) -> Manifest {
    Manifest {
        pipeline: "simulated".to_owned(),
        epoch,
        generation,
        instance: instance.to_owned(),
        lineage: lineage.to_owned(),
        created_ms: 0,
        version: "simulated".to_owned(),
        sources: [(SOURCE.to_owned(), source_state(positions))].into(),
        windows: BTreeMap::new(),
        sinks: BTreeMap::new(),
        files: BTreeMap::new(),
    }
}

fn source_state(positions: &[usize]) -> SourceState {
    let partition = |(index, next): (usize, &usize)| {
        let state = PartitionState {
            name: "topic".to_owned(),
            next: Offset(*next as i64),
            watermark: None,
            renewed_by: None,
        };
        (Partition(index as i32), state)
    };
    let read = positions.iter().sum::<usize>() as u64;
    let taken = OutputLedger {
        taken: read,
        filtered: 0,
        late: 0,
    };
    SourceState {
        origin: "topic".to_owned(),
        partitions: positions.iter().enumerate().map(partition).collect(),
        fired: None,
        ledger: Ledger {
            read,
            outputs: [(CURATED.to_owned(), taken)].into(),
            ..Ledger::default()
        },
    }
}

async fn restore_windows(
    manifest: &Manifest,
    store: &CheckpointStore,
) -> Result<(BTreeMap<usize, Vec<Chunk>>, usize), EngineError> {
    let mut windows: BTreeMap<usize, Vec<Chunk>> = BTreeMap::new();
    let Some(state) = manifest.windows.get(CURATED) else {
        return Ok((windows, 0));
    };
    let mut files: BTreeMap<&str, Vec<RecordBatch>> = BTreeMap::new();
    for (start, chunks) in &state.open {
        for chunk in chunks {
            if !files.contains_key(chunk.file.as_str()) {
                let batches = store
                    .state(&chunk.file, &manifest.files[&chunk.file])
                    .await?;
                files.insert(&chunk.file, batches);
            }
            windows.entry(start.0 as usize).or_default().push(Chunk {
                batch: files[chunk.file.as_str()][chunk.batch].clone(),
                stored: Some(chunk.clone()),
            });
        }
    }
    // Windows closed at an earlier end stay closed: there is nothing left for them.
    let positions = manifest.sources[SOURCE].partitions.values();
    let fired = positions.map(|state| state.next.0 as usize / WINDOW).min();
    Ok((windows, fired.unwrap_or(0)))
}

impl Instance {
    /// Reads, fires and takes checkpoints, in the order that the seed says.
    async fn serve(&mut self, until_end: bool) -> Result<(), EngineError> {
        loop {
            self.world.turn(self.id).await;
            while let Ok(said) = self.inbox.try_recv() {
                if self.hear(said).await? {
                    return Ok(());
                }
            }
            let (choice, length) = {
                let mut world = self.world.lock();
                (world.rng.random_range(0..8), world.observer.length())
            };
            let all_read = self.positions.iter().all(|next| *next == length);
            if (until_end && all_read) || (!until_end && choice == 7 && self.is_tired()) {
                self.draining = true;
            }
            match choice {
                0..5 if !self.draining && !all_read => self.read(length).await,
                5 | 6 if self.round.is_none() && self.store.is_some() => self.begin().await?,
                _ => {}
            }
        }
    }

    /// Whether it is asked to stop, which happens now and then.
    fn is_tired(&self) -> bool {
        self.world.lock().rng.random_range(0..20) == 0
    }

    async fn read(&mut self, length: usize) {
        let (partition, from, rows) = {
            let mut world = self.world.lock();
            let left = (0..self.positions.len()).filter(|p| self.positions[*p] < length);
            let left: Vec<usize> = left.collect();
            let partition = left[world.rng.random_range(0..left.len())];
            let from = self.positions[partition];
            let to = length.min(from + world.rng.random_range(1..4));
            let observer = &world.observer;
            let rows: Vec<usize> = (from..to).map(|at| observer.row(partition, at)).collect();
            (partition, from, rows)
        };
        self.positions[partition] += rows.len();
        for (index, row) in rows.iter().enumerate() {
            let chunk = Chunk {
                batch: batch(&[*row]),
                stored: None,
            };
            self.windows
                .entry((from + index) / WINDOW)
                .or_default()
                .push(chunk);
        }
        for sink in [1, 2] {
            let rows = SinkCommand::Rows {
                partition,
                from,
                rows: rows.clone(),
            };
            self.tell(SinkId(sink), rows).await;
        }
        let watermark = self.positions.iter().map(|next| next / WINDOW).min();
        self.fire(watermark.unwrap_or(0)).await;
    }

    /// Fires the windows before `until`.
    async fn fire(&mut self, until: usize) {
        self.fired = self.fired.max(until);
        while let Some(first) = self.windows.first_entry().filter(|w| *w.key() < self.fired) {
            let chunks = first.remove();
            let rows = chunks
                .iter()
                .flat_map(|chunk| rows_of(&chunk.batch))
                .collect();
            let command = SinkCommand::Rows {
                partition: 0,
                from: 0,
                rows,
            };
            self.tell(SinkId(0), command).await;
        }
    }

    async fn begin(&mut self) -> Result<(), EngineError> {
        let last = self.draining;
        if last && self.close_windows {
            self.fire(usize::MAX).await;
        }
        let (name, lineage, positions) = (&self.name, &self.lineage, &self.positions);
        let manifest = manifest(self.epoch.next(), self.generation, name, lineage, positions);
        let mut frozen = Frozen::new(manifest, self.files.clone());
        let windows = self.windows.iter_mut().map(|(window, chunks)| {
            let chunks = chunks
                .iter_mut()
                .map(|chunk| (&chunk.batch, 0, &mut chunk.stored));
            (EventMicros(*window as i64), chunks.collect())
        });
        frozen.windows(CURATED, "query", BTreeSet::new(), windows);
        let sinks = [CURATED, ALERTS, LATE].map(str::to_owned).into();
        let (round, next) = Round::begin(frozen, sinks, last);
        self.round = Some(round);
        self.act(next).await.map(drop)
    }

    async fn tell(&self, sink: SinkId, command: SinkCommand) {
        // A sink that has ended has said why.
        let _ = self.queues[sink.0].send(command).await;
    }

    /// Whether the run is over.
    async fn hear(&mut self, said: Said) -> Result<bool, EngineError> {
        let round = self.round.as_mut();
        let next = match said {
            Said::Failed(error) => return Err(error),
            Said::Collected(store) => {
                self.store = Some(store);
                return Ok(false);
            }
            Said::PreCommitted(sink, work) => {
                round.map(|round| round.pre_committed(sink, work, Committed::default()))
            }
            Said::Committed(sink) => round.map(|round| round.committed(sink)),
            Said::Stored(store, manifest, outcome) => {
                self.store = Some(store);
                if outcome == Stored::Ours {
                    self.epoch = manifest.epoch;
                    self.files.clone_from(&manifest.files);
                }
                round.map(|round| round.stored(manifest, outcome))
            }
        };
        let next = next.expect("a round").expect("what was asked for");
        self.act(next).await
    }

    async fn act(&mut self, next: Next) -> Result<bool, EngineError> {
        match next {
            Next::Wait => {}
            Next::PreCommit { epoch, last, .. } => {
                for sink in 0..self.queues.len() {
                    let command = SinkCommand::PreCommit { epoch, last };
                    self.tell(SinkId(sink), command).await;
                }
            }
            Next::Store(frozen) => {
                self.with_store(
                    async move |mut store| match frozen.store(&mut store).await {
                        Ok((manifest, stored)) => Said::Stored(store, Box::new(manifest), stored),
                        Err(error) => Said::Failed(error.into()),
                    },
                );
            }
            Next::Put(manifest) => {
                self.with_store(async move |mut store| match store.put(&manifest).await {
                    Ok(stored) => Said::Stored(store, manifest, stored),
                    Err(error) => Said::Failed(error.into()),
                });
            }
            Next::Commit(permits) => {
                for (sink, permit) in permits {
                    self.tell(sink, SinkCommand::Commit(permit)).await;
                }
            }
            Next::Complete {
                manifest,
                last: true,
            } => {
                let round = self.round.as_mut().expect("a round");
                let next = round.settle(*manifest, &[]);
                return Box::pin(self.act(next)).await;
            }
            Next::Complete { last: false, .. } => {
                self.round = None;
                self.with_store(async move |mut store| {
                    // Whether that works is of no importance.
                    let _ = store.collect_garbage().await;
                    Said::Collected(store)
                });
            }
            Next::Finished => return Ok(true),
            Next::Fenced(epoch) => return Err(fenced(&format!("whoever has put {epoch}"))),
        }
        Ok(false)
    }

    /// Has a task do something with the checkpoint store.
    fn with_store<F>(&mut self, work: impl FnOnce(CheckpointStore) -> F)
    where
        F: Future<Output = Said> + Send + 'static,
    {
        let (store, inbox) = (self.store.take().expect("a store"), self.to_self.clone());
        let work = work(store);
        sinks::spawn(&self.world, self.id, async move {
            let said = work.await;
            // An instance that has ended hears nothing.
            let _ = inbox.send(said).await;
        });
    }
}
