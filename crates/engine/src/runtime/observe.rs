//! The coordinator's status.

use std::collections::BTreeMap;
use std::time::Duration;

use super::coordinator::{Coordinator, SourceRun};
use super::message::{LaneView, PartitionView, WorkerView, lock};
use super::monitor::Health;
use super::start::{DEAD_LETTER, LATE};
use super::status::{
    CheckpointStatus, HeldBack, HeldBackReason, MOST_WINDOWS, OpenWindow, OutputStatus,
    PartitionStatus, SourceStatus, Status,
};
use crate::checkpoint::Manifest;
use crate::source::END_UNKNOWN;
use crate::telemetry::{CheckpointRecord, StageTimes};
use crate::units::{EventMicros, Offset, OutputId, Partition};
use crate::watermark::Standing;
use crate::window::PaneSize;

/// A partition that has brought nothing for this long is silent; records that arrive one by one
/// leave it without any for a moment each.
const SILENT_AFTER: Duration = Duration::from_secs(1);

impl Coordinator {
    /// The run at this moment.
    pub(super) fn status(&self) -> Status {
        let views: Vec<WorkerView> = self
            .workers
            .iter()
            .map(|worker| lock(&worker.view).clone())
            .collect();
        let now = self.clock.monotonic();
        let mut stages = StageTimes::default();
        views.iter().for_each(|view| stages += view.stages);
        let mut status = Status {
            phase: self.phase,
            instance: self.instance.clone(),
            elapsed_seconds: now.saturating_sub(self.started).as_secs_f64(),
            first_records_seconds: self.first_records.map(|after| after.as_secs_f64()),
            checkpoint: self.checkpoint_status(now),
            stages,
            ..Status::default()
        };
        for source in &self.sources {
            let name = source.started.name.clone();
            status
                .sources
                .insert(name, self.source_status(source, &views));
        }
        for (index, sink) in self.sinks.iter().enumerate() {
            let mut output = OutputStatus {
                committed: sink.before,
                ..OutputStatus::default()
            };
            output.committed += *lock(&sink.count);
            match sink.name.as_str() {
                DEAD_LETTER => status.dead_letter = Some(output),
                LATE => status.late = Some(output),
                name => {
                    self.count_windows(OutputId(index), &views, &mut output);
                    status.outputs.insert(name.to_owned(), output);
                }
            }
        }
        let workers: usize = views.iter().map(|view| view.state_bytes).sum();
        let here: usize = self
            .open
            .values()
            .map(crate::window::OpenWindows::memory)
            .sum();
        status.state_bytes = workers + here;
        status
    }

    fn checkpoint_status(&self, now: Duration) -> CheckpointStatus {
        let run = &self.checkpoint;
        let age = run.last_done.map(|done| now.saturating_sub(done));
        CheckpointStatus {
            epoch: run.epoch,
            generation: run.generation,
            completed: run.completed,
            failed: run.failed,
            last_seconds: run.last_took.map(|took| took.as_secs_f64()),
            age_seconds: age.map(|age| age.as_secs_f64()),
        }
    }

    /// A checkpoint is complete: notes it, and says how many bytes it has.
    pub(super) fn note_checkpoint(&self, manifest: &Manifest) -> u64 {
        let states: u64 = manifest.files.values().map(|file| file.bytes).sum();
        let itself = serde_json::to_vec(manifest).map_or(0, |json| json.len() as u64);
        let bytes = states + itself;
        self.telemetry.checkpoint(CheckpointRecord {
            epoch: manifest.epoch,
            at_ms: self.clock.wall_ms(),
            took: self.checkpoint.last_took.unwrap_or_default(),
            bytes,
        });
        bytes
    }

    fn count_windows(&self, id: OutputId, views: &[WorkerView], output: &mut OutputStatus) {
        let Some(open) = self.open.get(&id) else {
            return;
        };
        let mut windows: BTreeMap<EventMicros, PaneSize> = BTreeMap::new();
        for (start, chunks) in open.windows() {
            let chunks = || chunks.iter().map(|stored| &stored.chunk);
            let size = windows.entry(start).or_default();
            // The same groups come again with each barrier.
            size.groups = chunks().map(|chunk| chunk.groups()).max().unwrap_or(0);
            size.rows = chunks().map(|chunk| chunk.rows()).sum();
        }
        let lanes = views.iter().flat_map(|view| view.lanes.values());
        let panes = lanes.flat_map(|lane| &lane.panes);
        for (start, pane) in panes
            .filter(|(output, _)| *output == id)
            .flat_map(|(_, p)| p)
        {
            let size = windows.entry(*start).or_default();
            size.groups = size.groups.max(pane.groups);
            size.rows += pane.rows;
        }
        output.open_windows = windows.len();
        output.open_groups = windows.values().map(|size| size.groups).sum();
        output.fired_windows = self.fired_windows.get(&id).copied().unwrap_or(0);
        let first = windows.into_iter().take(MOST_WINDOWS);
        output.windows = first
            .map(|(start, size)| OpenWindow {
                start,
                end: open.end(start),
                size,
            })
            .collect();
    }

    fn source_status(&self, source: &SourceRun, views: &[WorkerView]) -> SourceStatus {
        let id = source.started.id;
        let lanes = || views.iter().filter_map(|view| view.lanes.get(&id));
        let health = lock(&source.started.health).clone();
        let now = self.clock.monotonic();
        let mut status = SourceStatus {
            read_now: lanes().map(|lane| lane.ledger.read).sum(),
            bytes: lanes().map(|lane| lane.bytes).sum(),
            batches: lanes().map(|lane| lane.batches).sum(),
            ledger: self.ledger(source, lanes()),
            watermark: source
                .tracker
                .as_ref()
                .and_then(|tracker| tracker.watermark()),
            held_back_by: None,
            lag: None,
            reachable: health.is_reachable(now),
            trouble: health.trouble.clone(),
            partitions: BTreeMap::new(),
        };
        let view_of = |partition: Partition| {
            lanes().find_map(|lane: &LaneView| lane.partitions.get(&partition))
        };
        for (partition, start) in &source.started.positions {
            let view = view_of(*partition);
            let state = partition_status(*partition, *start, view, &health, self.clock.wall_ms());
            status.partitions.insert(*partition, state);
        }
        for (partition, watermark, standing) in source
            .tracker
            .iter()
            .flat_map(|tracker| tracker.partitions())
        {
            if let Some(status) = status.partitions.get_mut(&partition) {
                (status.watermark, status.standing) = (watermark, standing);
            }
        }
        status.lag = status.partitions.values().map(|state| state.lag).sum();
        let last = source
            .tracker
            .as_ref()
            .and_then(|t| Some((t, t.held_back_by()?)));
        status.held_back_by = last.and_then(|(tracker, partition)| {
            let state = status.partitions.get(&partition)?;
            let silent = tracker.silent_for(partition, now);
            let silent = silent.is_some_and(|silent| silent >= SILENT_AFTER);
            let reason = reason(status.reachable, state, view_of(partition), silent);
            Some(HeldBack { partition, reason })
        });
        status
    }
}

fn partition_status(
    partition: Partition,
    start: Offset,
    view: Option<&PartitionView>,
    health: &Health,
    wall_ms: i64,
) -> PartitionStatus {
    let next = view.map_or(start, |view| view.next);
    let end = health.ends.get(&partition).copied();
    let known = end.filter(|end| *end != END_UNKNOWN);
    let lag = known.map(|end| (end.0 - next.0).max(0) as u64);
    let processed = view.filter(|view| view.delivered > 0 && view.last_timestamp_ms >= 0);
    let behind = match (lag, processed) {
        (Some(0), _) => Some(Duration::ZERO),
        (_, Some(view)) => {
            let ms = wall_ms.saturating_sub(view.last_timestamp_ms).max(0);
            Some(Duration::from_millis(ms as u64))
        }
        _ => None,
    };
    PartitionStatus {
        start_offset: start,
        next_offset: next,
        end_offset: end,
        watermark: None,
        standing: Standing::Active,
        lag,
        behind,
        max_event_time: view.and_then(|view| view.max_event_time),
    }
}

/// Why the partition that is least far is not further, the most telling reason first.
fn reason(
    reachable: bool,
    state: &PartitionStatus,
    view: Option<&PartitionView>,
    silent: bool,
) -> HeldBackReason {
    let delivered = view.map_or(0, |view| view.delivered);
    if !reachable {
        HeldBackReason::Unreachable
    } else if view.is_some_and(|view| view.undated) {
        HeldBackReason::Future
    } else if state.lag.is_some_and(|lag| lag > 0) {
        HeldBackReason::Behind
    } else if state.watermark.is_none() && delivered == 0 {
        HeldBackReason::Empty
    } else if silent {
        HeldBackReason::Silent
    } else {
        HeldBackReason::Slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::Watermark;

    fn view() -> PartitionView {
        PartitionView {
            next: Offset(10),
            max_event_time: Some(EventMicros(0)),
            delivered: 10,
            dated: 10,
            caught_up: true,
            ended: false,
            last_timestamp_ms: 5_000,
            undated: false,
        }
    }

    fn status(view: Option<&PartitionView>, end: i64) -> PartitionStatus {
        let health = Health {
            ends: [(Partition(0), Offset(end))].into(),
            ..Health::default()
        };
        partition_status(Partition(0), Offset(0), view, &health, 7_500)
    }

    #[test]
    fn a_partition_is_behind_by_the_age_of_the_last_record_processed() {
        let state = status(Some(&view()), 12);
        assert_eq!(state.lag, Some(2));
        assert_eq!(state.behind, Some(Duration::from_millis(2_500)));
        let state = status(Some(&view()), 10);
        assert_eq!((state.lag, state.behind), (Some(0), Some(Duration::ZERO)));
        let state = status(None, 12);
        assert_eq!((state.lag, state.behind), (Some(12), None));
        let state = status(Some(&view()), END_UNKNOWN.0);
        assert_eq!(state.lag, None);
    }

    #[test]
    fn the_reason_for_a_watermark_that_stands_is_the_most_telling_one() {
        let mut state = status(Some(&view()), 10);
        state.watermark = Some(Watermark(0));
        let found = |view: Option<&PartitionView>, state: &PartitionStatus, silent| {
            reason(true, state, view, silent)
        };
        assert_eq!(found(Some(&view()), &state, false), HeldBackReason::Slow);
        assert_eq!(found(Some(&view()), &state, true), HeldBackReason::Silent);
        let unreachable = reason(false, &state, Some(&view()), true);
        assert_eq!(unreachable, HeldBackReason::Unreachable);
        let ahead = PartitionView {
            undated: true,
            ..view()
        };
        assert_eq!(found(Some(&ahead), &state, false), HeldBackReason::Future);
        state.lag = Some(3);
        assert_eq!(found(Some(&view()), &state, false), HeldBackReason::Behind);
        let empty = status(None, 0);
        assert_eq!(found(None, &empty, true), HeldBackReason::Empty);
    }
}
