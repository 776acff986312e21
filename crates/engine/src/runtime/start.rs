//! Starting: recover, claim, connect, and put the threads in place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use floodmark_pipeline::Pipeline;

use super::barrier::blank;
use super::error::EngineError;
use super::monitor::Health;
use crate::checkpoint::{
    CheckpointStore, ChunkRef, Decision, Expected, Manifest, PartitionState, SinkState,
    SourceState, Stored, decide,
};
use crate::clock::Clock;
use crate::ledger::{Ledger, OutputLedger};
use crate::sink::{CommitPermit, Committed, PreCommit, Sink, SinkError};
use crate::source::Connector;
use crate::telemetry::Telemetry;
use crate::units::{Epoch, Generation, Offset, OutputId, Partition, SourceId};
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

/// How often a claim is tried again because the running instance has taken a checkpoint meanwhile.
const CLAIM_ATTEMPTS: usize = 20;

/// Recovers, claims the checkpoint and opens everything.
pub(super) fn start(mut parts: Parts, until_caught_up: bool) -> Result<Started, EngineError> {
    let (sources, claimed) = take_over(&mut parts, until_caught_up)?;
    let mut sinks = Vec::new();
    for (slot, name) in slots(&parts.pipeline) {
        parts.telemetry.wait_for(match slot {
            SinkSlot::Output(_) => format!("opening output '{name}'"),
            SinkSlot::DeadLetter => "opening the dead letters' sink".to_owned(),
            SinkSlot::Late => "opening the late rows' sink".to_owned(),
        });
        require_ownership(&mut parts, &claimed)?;
        let state = claimed.sinks.get(&name);
        let opened = open_sink(&mut parts, slot, name, &claimed, state);
        if opened.as_ref().is_err_and(EngineError::is_fenced) {
            require_ownership(&mut parts, &claimed)?;
        }
        sinks.push(opened?);
    }
    let open = open_windows(&parts, &claimed)?;
    Ok(Started {
        sources,
        open,
        sinks,
        claimed,
        checkpoints: Box::new(parts.checkpoints),
    })
}

/// Reads the newest checkpoint and claims its successor. If the instance that runs takes a
/// checkpoint meanwhile, it is done again; if another one takes over, this one gives way.
fn take_over(
    parts: &mut Parts,
    until_caught_up: bool,
) -> Result<(Vec<StartedSource>, Manifest), EngineError> {
    let mut seen: Option<Generation> = None;
    for _ in 0..CLAIM_ATTEMPTS {
        parts.telemetry.wait_for("reading the newest checkpoint");
        let newest = parts.tokio.block_on(parts.checkpoints.newest())?;
        if let Some(newest) = &newest {
            let epoch = newest.epoch;
            parts
                .telemetry
                .wait_for(format!("recovering from checkpoint {epoch}"));
        }
        let generation = newest
            .as_ref()
            .map_or(Generation(0), |newest| newest.generation);
        if let Some(newest) = &newest
            && *seen.get_or_insert(generation) != generation
        {
            return Err(EngineError::fenced_by(newest));
        }
        seen = Some(generation);
        let found = match decide(newest, &expected(parts)) {
            Decision::Incompatible { differences } => {
                return Err(EngineError::Incompatible { differences });
            }
            Decision::Start => None,
            Decision::Resume(manifest) | Decision::ReplayCommit(manifest) => Some(*manifest),
        };
        let mut sources = Vec::new();
        for index in 0..parts.connectors.len() {
            let (id, found) = (SourceId(index), found.as_ref());
            sources.push(start_source(parts, id, found, until_caught_up)?);
        }
        if let Some(claimed) = claim(parts, found.as_ref(), &sources)? {
            let (instance, generation) = (&claimed.instance, claimed.generation.0);
            match &found {
                Some(found) => {
                    tracing::info!(checkpoint = found.epoch.0, generation, %instance, "resuming");
                }
                None => tracing::info!(generation, %instance, "starting"),
            }
            return Ok((sources, claimed));
        }
    }
    Err(EngineError::Fenced {
        by: "an instance that takes checkpoints faster than they can be claimed".to_owned(),
    })
}

/// Gives way to an instance that has claimed the checkpoint since: opening a sink would fence that
/// one's producer, and of several that start together none would run on.
fn require_ownership(parts: &mut Parts, claimed: &Manifest) -> Result<(), EngineError> {
    let checkpoints = &mut parts.checkpoints;
    if !parts
        .tokio
        .block_on(checkpoints.is_overtaken(claimed.epoch))?
    {
        return Ok(());
    }
    match parts.tokio.block_on(checkpoints.newest())? {
        Some(newest) => Err(EngineError::fenced_by(&newest)),
        None => Err(EngineError::internal(
            "recovery",
            "all checkpoints are gone",
        )),
    }
}

fn start_source(
    parts: &Parts,
    id: SourceId,
    found: Option<&Manifest>,
    until_caught_up: bool,
) -> Result<StartedSource, EngineError> {
    let name = parts.pipeline.sources[id.0].name.clone();
    let connector = Arc::clone(&parts.connectors[id.0]);
    let state = found.and_then(|manifest| manifest.sources.get(&name));
    let mut restored = state.cloned().unwrap_or_else(|| SourceState {
        origin: connector.origin(),
        partitions: BTreeMap::new(),
        fired: None,
        ledger: Ledger::default(),
    });
    account_for_outputs(&mut restored.ledger, parts, id);
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
            state.renewed_by = Some(parts.instance.clone());
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
        answered_at: Some(parts.clock.monotonic()),
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
fn account_for_outputs(ledger: &mut Ledger, parts: &Parts, source: SourceId) {
    let mine = parts
        .plan
        .outputs
        .iter()
        .filter(|output| output.source == source);
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

/// Puts the next manifest, everything else as it was found: from here on this instance owns the
/// checkpoint; `None` if somebody else has put it. It also pins the positions of a first start,
/// `latest` included.
fn claim(
    parts: &mut Parts,
    found: Option<&Manifest>,
    sources: &[StartedSource],
) -> Result<Option<Manifest>, EngineError> {
    let (epoch, generation) = found.map_or((Epoch(0), Generation(0)), |found| {
        (found.epoch, found.generation)
    });
    let mut manifest = blank(
        &parts.pipeline.name,
        epoch.next(),
        Generation(generation.0 + 1),
        &parts.instance,
        parts.clock.wall_ms(),
    );
    for source in sources {
        let mut state = source.restored.clone();
        for (partition, next) in &source.positions {
            let entry = state
                .partitions
                .entry(*partition)
                .or_insert_with(|| PartitionState {
                    name: source.connector.topic(*partition),
                    next: *next,
                    watermark: None,
                    renewed_by: None,
                });
            entry.next = *next;
        }
        manifest.sources.insert(source.name.clone(), state);
    }
    if let Some(found) = found {
        manifest.lineage.clone_from(&found.lineage);
        manifest.windows.clone_from(&found.windows);
        manifest.sinks.clone_from(&found.sinks);
        manifest.files.clone_from(&found.files);
    }
    let outcome = parts.tokio.block_on(parts.checkpoints.put(&manifest))?;
    Ok((outcome == Stored::Ours).then_some(manifest))
}

fn open_sink(
    parts: &mut Parts,
    slot: SinkSlot,
    name: String,
    claimed: &Manifest,
    state: Option<&SinkState>,
) -> Result<StartedSink, EngineError> {
    let failed = |source| EngineError::Sink {
        sink: name.clone(),
        source,
    };
    let run = SinkContext {
        generation: claimed.generation,
        lineage: claimed.lineage.clone(),
        instance: parts.instance.clone(),
        renewed: renewed(parts, claimed),
    };
    let mut sink = parts.sinks.open(slot, &run).map_err(failed)?;
    sink.describe_offsets(&claimed.describe_offsets());
    let mut committed = Committed::default();
    if let Some(state) = state {
        committed = state.committed;
        let mut carried = Vec::new();
        if let Some(file) = &state.carried {
            carried = load(parts, claimed, file)?;
        }
        let pre_commit = PreCommit {
            work: state.work.clone(),
            carried,
        };
        // The claimed manifest is durable and carries this work: INV-OWNER.
        let permit = CommitPermit::new(state.epoch);
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
            source,
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
                    source: crate::window::WindowError::Mismatch(format!(
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
