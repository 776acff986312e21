//! Starting: recover, claim, connect, and put the threads in place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use floodmark_pipeline::Pipeline;

use super::error::EngineError;
use super::fenced::blame;
use super::monitor::Health;
use crate::checkpoint::{
    CheckpointStore, ChunkRef, ClaimError, Claimed, Expected, Manifest, PartitionState,
    SourceState, claim,
};
use crate::clock::Clock;
use crate::ledger::{Ledger, OutputLedger};
use crate::sink::{Committed, PreCommit, Sink, SinkError};
use crate::source::Connector;
use crate::telemetry::Telemetry;
use crate::telemetry::spans::Step;
use crate::units::{Generation, Offset, OutputId, Partition, SourceId};
use crate::window::OpenWindows;
use floodmark_sql::{OutputKind, Plan};

/// Which sink a factory is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkSlot {
    /// An output's.
    Output(OutputId),
    /// For records that could not be read.
    DeadLetter,
    /// For rows whose window had fired.
    Late,
}

/// The run that a sink is opened for.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// Its fencing token.
    pub generation: Generation,
    /// The chain of checkpoints it continues (see [`Manifest::lineage`]).
    pub lineage: String,
    /// Its name.
    pub instance: String,
    /// Partitions that were found made anew, with the name of the instance that found it so (see
    /// [`PartitionState::renewed_by`]).
    pub renewed: BTreeMap<SourceId, BTreeMap<Partition, String>>,
}

/// Opens sinks. Called after the checkpoint was claimed, so that opening may fence predecessors.
pub trait SinkFactory: Send {
    /// Opens a sink.
    fn open(&mut self, slot: SinkSlot, run: &SinkContext) -> Result<Box<dyn Sink>, SinkError>;
}

/// What a run is made of; everything that touches the outside comes in here.
pub struct Parts {
    /// The pipeline file.
    pub pipeline: Arc<Pipeline>,
    /// Its queries, planned.
    pub plan: Arc<Plan>,
    /// One a source, in order.
    pub connectors: Vec<Arc<dyn Connector>>,
    /// Opens sinks.
    pub sinks: Box<dyn SinkFactory>,
    /// Where checkpoints lie.
    pub checkpoints: CheckpointStore,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Runs uploads and other waiting.
    pub tokio: tokio::runtime::Handle,
    /// A name for this instance, unique among all that ever ran.
    pub instance: String,
    /// What the run says of itself.
    pub telemetry: Telemetry,
}

/// A source as recovery left it.
pub(super) struct StartedSource {
    pub(super) id: SourceId,
    pub(super) name: String,
    pub(super) connector: Arc<dyn Connector>,
    pub(super) positions: BTreeMap<Partition, Offset>,
    pub(super) restored: SourceState,
    pub(super) health: Arc<Mutex<Health>>,
    /// Ends at the start, if the run ends there.
    pub(super) until: Option<BTreeMap<Partition, Offset>>,
}

/// A sink as recovery left it.
pub(super) struct StartedSink {
    pub(super) name: String,
    pub(super) sink: Box<dyn Sink>,
    /// What had become visible before this run.
    pub(super) committed: Committed,
}

/// A pipeline that has recovered and owns its checkpoint.
pub(super) struct Started {
    pub(super) sources: Vec<StartedSource>,
    pub(super) open: BTreeMap<OutputId, OpenWindows<ChunkRef>>,
    pub(super) sinks: Vec<StartedSink>,
    pub(super) claimed: Manifest,
    pub(super) checkpoints: Box<CheckpointStore>,
}

/// Name of the dead letters' sink in checkpoints; no output can be called that.
pub const DEAD_LETTER: &str = "-dead-letter";
/// Name of the late rows' sink in checkpoints.
pub const LATE: &str = "-late";

/// All sinks of a pipeline in order, with their names in checkpoints.
pub(super) fn slots(pipeline: &Pipeline) -> Vec<(SinkSlot, String)> {
    let outputs = pipeline.outputs.iter().enumerate();
    let mut slots: Vec<_> = outputs
        .map(|(i, o)| (SinkSlot::Output(OutputId(i)), o.name.clone()))
        .collect();
    if pipeline.dead_letter.is_some() {
        slots.push((SinkSlot::DeadLetter, DEAD_LETTER.to_owned()));
    }
    if pipeline.late.is_some() {
        slots.push((SinkSlot::Late, LATE.to_owned()));
    }
    slots
}

fn expected(parts: &Parts) -> Expected {
    let sources = parts.pipeline.sources.iter().zip(&parts.connectors);
    let windowed = parts
        .plan
        .outputs
        .iter()
        .filter(|o| matches!(o.kind, OutputKind::Windowed(_)));
    Expected {
        pipeline: parts.pipeline.name.clone(),
        sources: sources.map(|(s, c)| (s.name.clone(), c.origin())).collect(),
        windows: windowed
            .map(|o| (o.name.clone(), o.fingerprint.clone()))
            .collect(),
        sinks: slots(&parts.pipeline)
            .into_iter()
            .map(|(_, name)| name)
            .collect(),
    }
}

/// Recovers, claims the checkpoint and opens everything.
pub(super) fn start(mut parts: Parts, until_caught_up: bool) -> Result<Started, EngineError> {
    let (sources, claimed) = take_over(&mut parts, until_caught_up)?;
    let mut sinks = Vec::new();
    for (slot, name) in slots(&parts.pipeline) {
        let waits_for = match slot {
            SinkSlot::Output(_) => format!("opening output '{name}'"),
            SinkSlot::DeadLetter => "opening the dead letters' sink".to_owned(),
            SinkSlot::Late => "opening the late rows' sink".to_owned(),
        };
        parts.telemetry.wait_for(Step::OpenSink(&name), waits_for);
        require_ownership(&mut parts, &claimed)?;
        let opened = open_sink(&mut parts, slot, name, &claimed);
        sinks.push(opened.map_err(|error| parts.blame(error))?);
    }
    parts
        .telemetry
        .wait_for(Step::LoadWindows, "loading open windows");
    let open = open_windows(&parts, claimed.manifest()).map_err(|error| parts.blame(error))?;
    Ok(Started {
        sources,
        open,
        sinks,
        claimed: claimed.into_manifest(),
        checkpoints: Box::new(parts.checkpoints),
    })
}

/// Takes the pipeline over, or gives way.
fn take_over(
    parts: &mut Parts,
    until_caught_up: bool,
) -> Result<(Vec<StartedSource>, Claimed), EngineError> {
    let expected = expected(parts);
    let telemetry = &parts.telemetry;
    telemetry.wait_for(Step::ReadCheckpoint, "reading the newest checkpoint");
    let site = Site {
        pipeline: &parts.pipeline,
        plan: &parts.plan,
        connectors: &parts.connectors,
        clock: parts.clock.as_ref(),
        instance: &parts.instance,
    };
    let sources = |found: Option<&Manifest>| {
        let waits_for = found.map_or_else(
            || "asking the sources where to begin".to_owned(),
            |found| format!("recovering from checkpoint {}", found.epoch),
        );
        telemetry.wait_for(Step::Claim, waits_for);
        let mut started = Vec::new();
        for index in 0..site.connectors.len() {
            let id = SourceId(index);
            started.push(start_source(&site, id, found, until_caught_up)?);
        }
        let states = started.iter().map(|s| (s.name.clone(), s.state()));
        Ok::<_, EngineError>((states.collect(), started))
    };
    let wall_ms = || site.clock.wall_ms();
    let store = &mut parts.checkpoints;
    let claim = claim(store, &expected, &parts.instance, wall_ms, sources);
    match parts.tokio.block_on(claim) {
        Ok((claimed, sources)) => {
            telemetry.claimed(claimed.manifest().generation, claimed.found());
            let (instance, generation) = (&parts.instance, claimed.manifest().generation.0);
            match claimed.found() {
                Some(found) => {
                    tracing::info!(checkpoint = found.0, generation, %instance, "resuming");
                }
                None => tracing::info!(generation, %instance, "starting"),
            }
            Ok((sources, claimed))
        }
        Err(ClaimError::Sources(error)) => Err(error),
        Err(ClaimError::Checkpoint(error)) => Err(error.into()),
        Err(ClaimError::Incompatible { differences }) => {
            Err(EngineError::Incompatible { differences })
        }
        Err(ClaimError::GaveWay { to }) => Err(EngineError::fenced_by(&to)),
        Err(ClaimError::Outpaced) => Err(EngineError::Fenced {
            by: "an instance that takes checkpoints faster than they can be claimed".to_owned(),
        }),
    }
}

/// What a source starts from.
struct Site<'a> {
    pipeline: &'a Pipeline,
    plan: &'a Plan,
    connectors: &'a [Arc<dyn Connector>],
    clock: &'a dyn Clock,
    instance: &'a str,
}

impl Parts {
    /// See [`blame`].
    fn blame(&mut self, error: EngineError) -> EngineError {
        let judged = blame(error, &mut self.checkpoints, &self.instance);
        self.tokio.block_on(judged)
    }
}

impl StartedSource {
    /// Where it begins to read.
    fn state(&self) -> SourceState {
        let mut state = self.restored.clone();
        for (partition, next) in &self.positions {
            let entry = state
                .partitions
                .entry(*partition)
                .or_insert_with(|| PartitionState {
                    name: self.connector.topic(*partition),
                    next: *next,
                    watermark: None,
                    renewed_by: None,
                });
            entry.next = *next;
        }
        state
    }
}

/// Gives way to an instance that has claimed the checkpoint since: opening a sink would fence that
/// one's producer, and of several that start together none would run on.
fn require_ownership(parts: &mut Parts, claimed: &Claimed) -> Result<(), EngineError> {
    let successor = claimed.successor(&mut parts.checkpoints);
    match parts.tokio.block_on(successor)? {
        Some(successor) => Err(EngineError::fenced_by(&successor)),
        None => Ok(()),
    }
}

fn start_source(
    site: &Site<'_>,
    id: SourceId,
    found: Option<&Manifest>,
    until_caught_up: bool,
) -> Result<StartedSource, EngineError> {
    let name = site.pipeline.sources[id.0].name.clone();
    let connector = Arc::clone(&site.connectors[id.0]);
    let state = found.and_then(|manifest| manifest.sources.get(&name));
    let mut restored = state.cloned().unwrap_or_else(|| SourceState {
        origin: connector.origin(),
        partitions: BTreeMap::new(),
        fired: None,
        ledger: Ledger::default(),
    });
    account_for_outputs(&mut restored.ledger, site.plan, id);
    let names: Vec<_> = restored
        .partitions
        .iter()
        .map(|(id, state)| (*id, state.name.clone()))
        .collect();
    connector.adopt(&names);
    let exist = connector.partitions()?;
    let known: Vec<_> = restored
        .partitions
        .iter()
        .map(|(id, state)| (*id, state.next))
        .collect();
    let new: Vec<Partition> = exist
        .iter()
        .copied()
        .filter(|p| !restored.partitions.contains_key(p))
        .collect();
    let mut positions: BTreeMap<Partition, Offset> =
        connector.resume(&known)?.into_iter().collect();
    for (partition, state) in &mut restored.partitions {
        // Retention moves a partition's beginning forward. One that begins before the position has
        // other records now, and what sinks noted about the old ones must not hide them.
        if positions
            .get(partition)
            .is_some_and(|next| *next < state.next)
        {
            state.renewed_by = Some(site.instance.to_owned());
        }
    }
    positions.extend(if state.is_some() {
        connector.start_of_new(&new)?
    } else {
        connector.start(&new)?
    });
    let ends = connector.ends(&exist)?;
    let until = until_caught_up.then(|| ends.iter().copied().collect());
    let health = Health {
        answered_at: Some(site.clock.monotonic()),
        ends: ends.into_iter().collect(),
        partitions: exist,
        ..Health::default()
    };
    Ok(StartedSource {
        id,
        name,
        connector,
        positions,
        restored,
        health: Arc::new(Mutex::new(health)),
        until,
    })
}

/// Brings a restored ledger in line with the outputs there are now: records read before an output
/// was added count as filtered for it, and an output that is gone has no account any more.
fn account_for_outputs(ledger: &mut Ledger, plan: &Plan, source: SourceId) {
    let mine = plan.outputs.iter().filter(|output| output.source == source);
    let names: Vec<&String> = mine.map(|output| &output.name).collect();
    ledger.outputs.retain(|name, _| names.contains(&name));
    let before = ledger.read.saturating_sub(ledger.bad + ledger.null_time);
    for name in names {
        ledger.outputs.entry(name.clone()).or_insert(OutputLedger {
            taken: 0,
            filtered: before,
            late: 0,
        });
    }
}

fn open_sink(
    parts: &mut Parts,
    slot: SinkSlot,
    name: String,
    claimed: &Claimed,
) -> Result<StartedSink, EngineError> {
    let manifest = claimed.manifest();
    let failed = |source| EngineError::Sink {
        sink: name.clone(),
        cause: source,
    };
    let run = SinkContext {
        generation: manifest.generation,
        lineage: manifest.lineage.clone(),
        instance: parts.instance.clone(),
        renewed: renewed(parts, manifest),
    };
    let mut sink = parts.sinks.open(slot, &run).map_err(failed)?;
    sink.describe_offsets(&manifest.describe_offsets());
    let mut committed = Committed::default();
    if let Some((permit, state)) = claimed.work(&name) {
        committed = state.committed;
        let mut carried = Vec::new();
        if let Some(file) = &state.carried {
            carried = load(parts, manifest, file)?;
        }
        let pre_commit = PreCommit {
            work: state.work.clone(),
            carried,
        };
        committed += sink.restore(&permit, pre_commit).map_err(failed)?;
    }
    Ok(StartedSink {
        name,
        sink,
        committed,
    })
}

fn renewed(parts: &Parts, claimed: &Manifest) -> BTreeMap<SourceId, BTreeMap<Partition, String>> {
    let sources = parts.pipeline.sources.iter().enumerate();
    let of = |state: &SourceState| {
        let partitions = state.partitions.iter();
        partitions
            .filter_map(|(partition, state)| Some((*partition, state.renewed_by.clone()?)))
            .collect()
    };
    sources
        .filter_map(|(id, source)| Some((SourceId(id), of(claimed.sources.get(&source.name)?))))
        .collect()
}

fn load(
    parts: &Parts,
    manifest: &Manifest,
    file: &str,
) -> Result<Vec<arrow::array::RecordBatch>, EngineError> {
    // Manifest::check has made sure that the file is listed.
    let listed = manifest.files.get(file).cloned();
    let listed = listed.ok_or_else(|| EngineError::internal("recovery", "INV-FILES"))?;
    Ok(parts
        .tokio
        .block_on(parts.checkpoints.state(file, &listed))?)
}

fn open_windows(
    parts: &Parts,
    claimed: &Manifest,
) -> Result<BTreeMap<OutputId, OpenWindows<ChunkRef>>, EngineError> {
    let mut all = BTreeMap::new();
    let mut files: BTreeMap<String, Vec<arrow::array::RecordBatch>> = BTreeMap::new();
    for (index, output) in parts.plan.outputs.iter().enumerate() {
        let OutputKind::Windowed(plan) = &output.kind else {
            continue;
        };
        let failed = |source| EngineError::Window {
            output: output.name.clone(),
            cause: source,
        };
        let mut open = OpenWindows::new(Arc::new(plan.as_ref().clone())).map_err(failed)?;
        let state = claimed.windows.get(&output.name);
        if let Some(state) = state {
            let source = &parts.pipeline.sources[output.source.0].name;
            let fired = claimed.sources.get(source).and_then(|source| source.fired);
            open.restore_closed(&state.closed, fired);
        }
        let stored = state.map(|state| &state.open);
        for (start, chunks) in stored.into_iter().flatten() {
            for chunk in chunks {
                if !files.contains_key(&chunk.file) {
                    files.insert(chunk.file.clone(), load(parts, claimed, &chunk.file)?);
                }
                let batch = files
                    .get(&chunk.file)
                    .and_then(|batches| batches.get(chunk.batch));
                let batch = batch.cloned().ok_or_else(|| EngineError::Window {
                    output: output.name.clone(),
                    cause: crate::window::WindowError::Mismatch(format!(
                        "{} has no batch {}",
                        chunk.file, chunk.batch
                    )),
                })?;
                open.restore(*start, batch, chunk.rows, chunk.clone())
                    .map_err(failed)?;
            }
        }
        all.insert(OutputId(index), open);
    }
    Ok(all)
}

/// How long a drain may take before it is given up.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
