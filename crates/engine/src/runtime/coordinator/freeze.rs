//! What a checkpoint fixes at its barrier.

use std::collections::BTreeMap;

use super::{Coordinator, SourceRun};
use crate::checkpoint::{Manifest, PartitionState, SourceState};
use crate::ledger::{Ledger, OutputLedger};
use crate::runtime::barrier::Frozen;
use crate::runtime::error::EngineError;
use crate::runtime::message::{LaneView, WorkerId, WorkerView};
use crate::units::Epoch;
use crate::watermark::Watermark;
use crate::window::StoredChunk;

impl Coordinator {
    pub(super) fn freeze(
        &mut self,
        epoch: Epoch,
        views: &BTreeMap<WorkerId, WorkerView>,
    ) -> Result<Frozen, EngineError> {
        let generation = self.checkpoint.generation;
        let now = self.clock.wall_ms();
        let mut manifest =
            Manifest::blank(&self.pipeline.name, epoch, generation, &self.instance, now);
        manifest.lineage.clone_from(&self.checkpoint.lineage);
        let known = self.checkpoint.files.clone();
        let mut frozen = Frozen::new(manifest, known);
        for source in &self.sources {
            let state = self.source_state(source, views);
            state.ledger.check(&source.started.name)?;
            frozen
                .manifest
                .sources
                .insert(source.started.name.clone(), state);
        }
        for (output, open) in &mut self.open {
            let plan = &self.plan.outputs[output.0];
            let closed = open.closed().clone();
            let windows = open.windows_mut();
            let windows = windows.map(|(start, chunks)| {
                (start, chunks.iter_mut().map(StoredChunk::parts).collect())
            });
            frozen.windows(&plan.name, &plan.fingerprint, closed, windows);
        }
        Ok(frozen)
    }

    fn source_state(
        &self,
        source: &SourceRun,
        views: &BTreeMap<WorkerId, WorkerView>,
    ) -> SourceState {
        let id = source.started.id;
        let restored = &source.started.restored;
        let mut partitions = restored.partitions.clone();
        for (partition, next) in &source.started.positions {
            let name = source.started.connector.topic(*partition);
            let state = PartitionState {
                name,
                next: *next,
                watermark: None,
                renewed_by: None,
            };
            partitions.entry(*partition).or_insert(state).next = *next;
        }
        let lanes = || views.values().filter_map(|worker| worker.lanes.get(&id));
        for (partition, view) in lanes().flat_map(|lane| &lane.partitions) {
            if let Some(state) = partitions.get_mut(partition) {
                state.next = view.next;
            }
        }
        if let Some(event_time) = &self.pipeline.sources[id.0].event_time {
            for (partition, view) in lanes().flat_map(|lane| &lane.partitions) {
                let Some(state) = partitions.get_mut(partition) else {
                    continue;
                };
                let reached = view
                    .max_event_time
                    .map(|max| Watermark::from_event_time(max, event_time.delay));
                state.watermark = state.watermark.max(reached);
            }
        }
        SourceState {
            origin: restored.origin.clone(),
            partitions,
            fired: source.fired,
            ledger: self.ledger(source, lanes()),
        }
    }

    /// The ledger of a source: what the checkpoint said and what the workers have added.
    pub(in crate::runtime) fn ledger<'a>(
        &self,
        source: &SourceRun,
        lanes: impl Iterator<Item = &'a LaneView>,
    ) -> Ledger {
        let mut ledger = source.started.restored.ledger.clone();
        for lane in lanes {
            let outputs = lane.ledger.outputs.iter().map(|(id, counts)| {
                (
                    self.plan.outputs[id.0].name.clone(),
                    OutputLedger::clone(counts),
                )
            });
            ledger += &Ledger {
                read: lane.ledger.read,
                bad: lane.ledger.bad,
                null_time: lane.ledger.null_time,
                future: lane.ledger.future,
                outputs: outputs.collect(),
            };
        }
        ledger
    }
}
