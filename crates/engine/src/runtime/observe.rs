//! The coordinator's status.

use super::coordinator::{Coordinator, SourceRun};
use super::message::{LaneView, WorkerView, lock};
use super::start::{DEAD_LETTER, LATE};
use super::status::{CheckpointStatus, OutputStatus, PartitionStatus, SourceStatus, Status};
use crate::source::END_UNKNOWN;
use crate::units::OutputId;
use crate::watermark::Standing;

impl Coordinator {
    /// The run at this moment.
    pub(super) fn status(&self) -> Status {
        let views: Vec<WorkerView> = self
            .workers
            .iter()
            .map(|worker| lock(&worker.view).clone())
            .collect();
        let now = self.clock.monotonic();
        let mut status = Status {
            phase: self.phase,
            elapsed_seconds: now.saturating_sub(self.started).as_secs_f64(),
            first_records_seconds: self.first_records.map(|after| after.as_secs_f64()),
            checkpoint: CheckpointStatus {
                epoch: self.checkpoint.epoch,
                generation: self.checkpoint.generation,
                completed: self.checkpoint.completed,
                last_seconds: self.checkpoint.last_took.map(|took| took.as_secs_f64()),
                age_seconds: self
                    .checkpoint
                    .last_done
                    .map(|done| now.saturating_sub(done).as_secs_f64()),
            },
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

    fn count_windows(&self, id: OutputId, views: &[WorkerView], output: &mut OutputStatus) {
        let mut starts = std::collections::BTreeSet::new();
        for (start, chunks) in self
            .open
            .get(&id)
            .into_iter()
            .flat_map(|open| open.windows())
        {
            starts.insert(start);
            output.open_groups += chunks.iter().map(|c| c.chunk.groups()).max().unwrap_or(0);
        }
        let lanes = views.iter().flat_map(|view| view.lanes.values());
        for (_, panes) in lanes
            .flat_map(|lane| &lane.panes)
            .filter(|(pane, _)| *pane == id)
        {
            for (start, groups) in panes {
                if starts.insert(*start) {
                    output.open_groups += groups;
                }
            }
        }
        output.open_windows = starts.len();
    }

    fn source_status(&self, source: &SourceRun, views: &[WorkerView]) -> SourceStatus {
        let id = source.started.id;
        let lanes = || views.iter().filter_map(|view| view.lanes.get(&id));
        let health = lock(&source.started.health).clone();
        let now = self.clock.monotonic();
        let mut status = SourceStatus {
            read_now: lanes().map(|lane| lane.ledger.read).sum(),
            ledger: self.ledger(source, lanes()),
            watermark: source
                .tracker
                .as_ref()
                .and_then(|tracker| tracker.watermark()),
            held_back_by: source
                .tracker
                .as_ref()
                .and_then(|tracker| tracker.held_back_by()),
            lag: None,
            reachable: health.is_reachable(now),
            trouble: health.trouble.clone(),
            partitions: std::collections::BTreeMap::new(),
        };
        for (partition, start) in &source.started.positions {
            let view = lanes().find_map(|lane: &LaneView| lane.partitions.get(partition));
            status.partitions.insert(
                *partition,
                PartitionStatus {
                    start_offset: *start,
                    next_offset: view.map_or(*start, |view| view.next),
                    end_offset: health.ends.get(partition).copied(),
                    watermark: None,
                    standing: Standing::Active,
                },
            );
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
        let lags = status.partitions.values().map(|partition| {
            let end = partition.end_offset.filter(|end| *end != END_UNKNOWN)?;
            Some((end.0 - partition.next_offset.0).max(0) as u64)
        });
        status.lag = lags.sum();
        status
    }
}
