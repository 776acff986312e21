//! A lane: one source's way through one worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use floodmark_pipeline::{EventTime, OnBadRecord};

use super::error::EngineError;
use super::journey::{Branch, BranchEnd, Journey};
use super::message::{LaneLedger, LaneView, Panes, PartitionView, SinkQueue};
use crate::clock::Clock;
use crate::decode::JsonDecoder;
use crate::ledger::OutputLedger;
use crate::source::{Connector, Reader};
use crate::telemetry::StageMeter;
use crate::units::{EventMicros, Offset, Partition, SourceId};
use crate::watermark::Watermark;
use crate::window::WindowOperator;

/// What a lane is built from.
pub(super) struct LaneParts {
    pub(super) source: SourceId,
    pub(super) source_name: String,
    pub(super) connector: Arc<dyn Connector>,
    pub(super) reader: Option<Box<dyn Reader>>,
    pub(super) positions: Vec<(Partition, Offset)>,
    pub(super) decoder: JsonDecoder,
    pub(super) event_time: Option<EventTime>,
    pub(super) on_bad_record: OnBadRecord,
    pub(super) batch_rows: usize,
    pub(super) outputs: Vec<Branch>,
    pub(super) dead_letters: Option<SinkQueue>,
    pub(super) late: Option<SinkQueue>,
}

pub(super) struct Lane {
    reader: Option<Box<dyn Reader>>,
    connector: Arc<dyn Connector>,
    journey: Journey,
}

impl Lane {
    pub(super) fn new(parts: LaneParts) -> Self {
        let counts = vec![OutputLedger::default(); parts.outputs.len()];
        let mut lane = Self {
            reader: parts.reader,
            journey: Journey {
                source: parts.source,
                source_name: parts.source_name,
                topics: BTreeMap::new(),
                decoder: parts.decoder,
                event_time: parts.event_time,
                on_bad_record: parts.on_bad_record,
                batch_rows: parts.batch_rows,
                branches: parts.outputs,
                dead_letters: parts.dead_letters,
                late: parts.late,
                partitions: BTreeMap::new(),
                read: 0,
                bad: 0,
                null_time: 0,
                future: 0,
                bytes: 0,
                batches: 0,
                counts,
            },
            connector: parts.connector,
        };
        lane.note(&parts.positions);
        lane
    }

    fn note(&mut self, positions: &[(Partition, Offset)]) {
        for (partition, next) in positions {
            self.journey
                .topics
                .insert(*partition, self.connector.topic(*partition));
            self.journey
                .partitions
                .entry(*partition)
                .or_insert(PartitionView {
                    next: *next,
                    max_event_time: None,
                    delivered: 0,
                    dated: 0,
                    caught_up: false,
                    ended: false,
                    last_timestamp_ms: -1,
                    undated: false,
                });
        }
    }

    /// Whether the lane has nothing to read.
    pub(super) fn is_unassigned(&self) -> bool {
        self.reader.is_none()
    }

    /// Reads further partitions.
    pub(super) fn assign(&mut self, positions: &[(Partition, Offset)]) -> Result<(), EngineError> {
        match &mut self.reader {
            Some(reader) => reader.assign(positions)?,
            None => self.reader = Some(self.connector.reader(positions)?),
        }
        self.note(positions);
        Ok(())
    }

    /// Takes what the source has and carries it as far as this worker goes.
    pub(super) fn poll(
        &mut self,
        wait: Duration,
        clock: &dyn Clock,
        meter: &mut StageMeter,
    ) -> Result<(), EngineError> {
        let Some(reader) = &mut self.reader else {
            return Ok(());
        };
        let journey = &mut self.journey;
        let (mut outcome, mut came) = (Ok(()), false);
        let batch_rows = journey.batch_rows;
        let events = reader.poll(wait, batch_rows, &mut |records| {
            came = true;
            outcome = journey.take(records, clock.wall_ms(), meter);
        })?;
        if !came {
            meter.fetched();
        }
        outcome?;
        for event in &events {
            journey.learn(event);
        }
        Ok(())
    }

    /// See [`WindowOperator::close`].
    pub(super) fn close(&mut self, watermark: Watermark) -> Result<Panes, EngineError> {
        self.hand_over(|operator| operator.close(watermark))
    }

    /// See [`WindowOperator::take`].
    pub(super) fn take(&mut self) -> Result<Panes, EngineError> {
        self.hand_over(WindowOperator::take)
    }

    fn hand_over(
        &mut self,
        mut from: impl FnMut(
            &mut WindowOperator,
        ) -> Result<
            Vec<(EventMicros, crate::window::Chunk)>,
            crate::window::WindowError,
        >,
    ) -> Result<Panes, EngineError> {
        let mut panes = Panes::new();
        for branch in &mut self.journey.branches {
            let BranchEnd::Windowed { operator, .. } = &mut branch.end else {
                continue;
            };
            let chunks = from(operator).map_err(|source| EngineError::Window {
                output: branch.name.clone(),
                cause: source,
            })?;
            let id = branch.id;
            panes.extend(chunks.into_iter().map(|(start, chunk)| (id, start, chunk)));
        }
        Ok(panes)
    }

    pub(super) fn view(&self) -> LaneView {
        let journey = &self.journey;
        let panes = journey
            .branches
            .iter()
            .filter_map(|branch| match &branch.end {
                BranchEnd::Windowed { operator, .. } => {
                    Some((branch.id, operator.panes().collect()))
                }
                BranchEnd::Stateless(_) => None,
            });
        let outputs = journey.branches.iter().zip(&journey.counts);
        LaneView {
            partitions: journey.partitions.clone(),
            ledger: LaneLedger {
                read: journey.read,
                bad: journey.bad,
                null_time: journey.null_time,
                future: journey.future,
                outputs: outputs
                    .map(|(branch, counts)| (branch.id, counts.clone()))
                    .collect(),
            },
            panes: panes.collect(),
            bytes: journey.bytes,
            batches: journey.batches,
        }
    }

    pub(super) fn memory(&self) -> usize {
        let operators = self
            .journey
            .branches
            .iter()
            .map(|branch| match &branch.end {
                BranchEnd::Windowed { operator, .. } => operator.memory(),
                BranchEnd::Stateless(_) => 0,
            });
        operators.sum()
    }
}
