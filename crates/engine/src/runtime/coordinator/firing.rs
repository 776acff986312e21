//! Watermarks and windows: when a window fires, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use floodmark_sql::{OutputKind, Plan, WindowSize, apply_all};
use tracing::Span;

use super::{AT_END_FOR, BLOCKED_AFTER, Closing, Coordinator, order};
use crate::checkpoint::ChunkRef;
use crate::runtime::error::EngineError;
use crate::runtime::message::{Command, LaneView, Panes, SinkCommand, SinkId, WorkerView, lock};
use crate::sink::OutputRows;
use crate::telemetry::{FiredWindow, Told, spans};
use crate::units::{EventMicros, OutputId, SourceId};
use crate::watermark::{FutureGuard, Observation, Watermark};
use crate::window::{Fired, OpenWindows, WindowError};

impl Coordinator {
    pub(super) fn advance_watermarks(&mut self, views: &[WorkerView], now: Duration) {
        // A sink that cannot take the windows that have fired gets no more of them: they stay where
        // they are, and their rows are not late yet.
        let stuck = self.has_unsent();
        for index in 0..self.sources.len() {
            let id = SourceId(index);
            let last_open_end = self.last_open_end(id, views);
            let source = &mut self.sources[index];
            let Some(tracker) = &mut source.tracker else {
                continue;
            };
            let health = lock(&source.started.health).clone();
            let reachable = health.is_reachable(now);
            for worker in views {
                let Some(lane) = worker.lanes.get(&id) else {
                    continue;
                };
                let polls = now.saturating_sub(worker.polled_at) < BLOCKED_AFTER;
                for (partition, view) in &lane.partitions {
                    let end = health.ends.get(partition);
                    if view.caught_up && end.is_none_or(|end| view.next >= *end) {
                        source.at_end.insert(*partition, now);
                    }
                    let at_end = source.at_end.get(partition);
                    let at_end = at_end.is_some_and(|at| now.saturating_sub(*at) < AT_END_FOR);
                    let seen = Observation {
                        max_event_time: view.max_event_time,
                        delivered: view.dated,
                        deliverable: reachable && polls && at_end,
                        ended: view.ended,
                    };
                    tracker.observe(*partition, seen, now);
                }
            }
            let Some(watermark) = tracker.advance(now, last_open_end) else {
                continue;
            };
            let busy = stuck || source.closing.is_some();
            if !busy && self.passes_a_window_end(id, watermark) {
                self.close(id, watermark);
            }
        }
    }

    fn windowed(&self, source: SourceId) -> impl Iterator<Item = (OutputId, WindowSize)> + '_ {
        self.plan
            .outputs
            .iter()
            .enumerate()
            .filter_map(move |(index, output)| match &output.kind {
                OutputKind::Windowed(plan) if output.source == source => {
                    Some((OutputId(index), plan.size))
                }
                _ => None,
            })
    }

    /// End of the last window of a source that has not fired, in a worker or here. Windows that
    /// only rows too far in the future have opened do not count: a quiet stream must not run
    /// ahead to them.
    fn last_open_end(&self, source: SourceId, views: &[WorkerView]) -> Option<EventMicros> {
        let event_time = self.pipeline.sources[source.0].event_time.as_ref()?;
        let guard = FutureGuard::at(self.clock.wall_ms(), event_time.max_future);
        let ends = self.windowed(source).filter_map(|(output, size)| {
            let in_workers = views
                .iter()
                .filter_map(|worker| worker.lanes.get(&source))
                .flat_map(LaneView::open_panes)
                .filter(|(id, _)| *id == output)
                .map(|(_, start)| start);
            let here = self.open.get(&output).into_iter();
            let here = here.flat_map(|open| open.windows().map(|(start, _)| start));
            let believed = in_workers.chain(here).filter(|start| guard.admits(*start));
            believed.max().map(|start| size.end(start))
        });
        ends.max()
    }

    /// Whether `watermark` has reached a window end that the last fired one had not.
    fn passes_a_window_end(&self, source: SourceId, watermark: Watermark) -> bool {
        let fired = self.sources[source.0].fired;
        self.windowed(source).any(|(_, size)| {
            let ends_before = |w: Watermark| w.0.saturating_mul(1_000).div_euclid(size.micros());
            fired.is_none_or(|fired| ends_before(watermark) > ends_before(fired))
        })
    }

    fn close(&mut self, source: SourceId, watermark: Watermark) {
        for worker in &self.workers {
            order(worker, Command::Close(source, watermark));
        }
        let missing = self.workers.len();
        let source = &mut self.sources[source.0];
        source.closing = Some(Closing {
            watermark,
            missing,
            panes: Panes::new(),
            span: spans::firing(None, &source.started.name, Some(watermark)),
        });
    }

    pub(super) fn closed(&mut self, source: SourceId, panes: Panes) -> Result<(), EngineError> {
        let Some(closing) = &mut self.sources[source.0].closing else {
            return Err(EngineError::internal(
                "coordinator",
                "a worker closed unasked",
            ));
        };
        closing.panes.extend(panes);
        closing.missing -= 1;
        if closing.missing > 0 {
            return Ok(());
        }
        if let Some(closing) = self.sources[source.0].closing.take() {
            self.keep(closing.panes)?;
            self.fire(source, closing.watermark, &closing.span)
                .inspect_err(|error| spans::failed(&closing.span, error.without_values()))?;
        }
        Ok(())
    }

    pub(super) fn keep(&mut self, panes: Panes) -> Result<(), EngineError> {
        for (output, start, chunk) in panes {
            let Some(open) = self.open.get_mut(&output) else {
                continue;
            };
            open.add(start, chunk)
                .map_err(|e| window_error(&self.plan, output, e))?;
        }
        Ok(())
    }

    /// Fires the windows of a source that `watermark` has reached.
    fn fire(
        &mut self,
        source: SourceId,
        watermark: Watermark,
        span: &Span,
    ) -> Result<(), EngineError> {
        self.fire_with(source, span, |open| open.fire(watermark))?;
        let run = &mut self.sources[source.0];
        run.fired = run.fired.max(Some(watermark));
        Ok(())
    }

    fn fire_with(
        &mut self,
        source: SourceId,
        span: &Span,
        fire: impl Fn(&mut OpenWindows<ChunkRef>) -> Result<Vec<Fired>, WindowError>,
    ) -> Result<(), EngineError> {
        let plan = Arc::clone(&self.plan);
        let outputs: Vec<OutputId> = self.windowed(source).map(|(output, _)| output).collect();
        for output in outputs {
            let Some(open) = self.open.get_mut(&output) else {
                continue;
            };
            let fired = fire(open).map_err(|e| window_error(&plan, output, e))?;
            let plan = &plan.outputs[output.0];
            for window in fired {
                let told = self.has_fired(output, &plan.name, &window, span);
                let batch = apply_all(&plan.after, window.results).map_err(|source| {
                    EngineError::Query {
                        output: plan.name.clone(),
                        cause: source,
                    }
                })?;
                if batch.num_rows() > 0 {
                    let rows = OutputRows {
                        batch,
                        origin: None,
                    };
                    let command = SinkCommand::Write(rows, Vec::new(), told);
                    self.tell(SinkId(output.0), command)?;
                }
            }
        }
        Ok(())
    }

    /// Counts a window that has fired.
    fn has_fired(&mut self, output: OutputId, name: &str, window: &Fired, span: &Span) -> Told {
        *self.fired_windows.entry(output).or_default() += 1;
        let told = FiredWindow {
            start: window.start,
            end: window.end,
            groups: window.results.num_rows() as u64,
            rows: window.rows,
        };
        self.telemetry.fired(name, &told, self.clock.wall_ms());
        spans::fired(span, name, &told);
        Told::Window(told)
    }

    /// Fires every open window, at the end of a run that asks for it. The watermark follows as far
    /// as event times may be believed; windows beyond are noted as closed one by one, or rows of
    /// all the time up to them would be late.
    pub(super) fn fire_all(&mut self) -> Result<(), EngineError> {
        for index in 0..self.sources.len() {
            let source = SourceId(index);
            let believed = self.last_open_end(source, &[]).map(Watermark::reaching);
            let reached = self.sources[index].fired.max(believed);
            let span = self.firing_at_the_end(source, reached);
            if let Some(watermark) = reached {
                if let Some(tracker) = &mut self.sources[index].tracker {
                    tracker.force(watermark);
                }
                self.fire(source, watermark, &span)?;
            }
            let reached = reached.unwrap_or(Watermark(i64::MIN));
            self.fire_with(source, &span, |open| open.fire_all(reached))?;
        }
        Ok(())
    }

    /// The span of windows that fire at the barrier of the run's last checkpoint.
    fn firing_at_the_end(&self, source: SourceId, reached: Option<Watermark>) -> Span {
        let barrier = self.checkpoint.current.as_ref();
        let barrier = barrier.map(|barrier| barrier.spans.stage());
        let name = &self.sources[source.0].started.name;
        spans::firing(barrier, name, reached)
    }
}

fn window_error(plan: &Plan, output: OutputId, source: WindowError) -> EngineError {
    EngineError::Window {
        output: plan.outputs[output.0].name.clone(),
        cause: source,
    }
}
