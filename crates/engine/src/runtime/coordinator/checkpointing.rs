//! Checkpoints: from the barrier to the last commit. What comes after what is said by [`Round`]; here
//! it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tracing::{Instrument, Span};

use super::{Coordinator, order};
use crate::checkpoint::{CheckpointStore, Manifest, Stored};
use crate::runtime::barrier::Frozen;
use crate::runtime::error::EngineError;
use crate::runtime::message::{
    Command, Message, Panes, SinkCommand, SinkId, WorkerId, WorkerView, lock,
};
use crate::runtime::round::{Next, Round, Unasked};
use crate::runtime::status::Phase;
use crate::sink::{Committed, PreCommit};
use crate::telemetry::spans::{self, CheckpointSpans};
use crate::units::{Epoch, Offset, Partition};

/// A checkpoint between its barrier and its last commit.
pub(super) struct Barrier {
    epoch: Epoch,
    /// Whether the run ends with it.
    last: bool,
    started: Duration,
    stage: Stage,
    pub(super) spans: CheckpointSpans,
}

/// What is waited for.
enum Stage {
    /// Workers, between two batches.
    Workers {
        missing: BTreeSet<WorkerId>,
        views: BTreeMap<WorkerId, WorkerView>,
    },
    /// What the round says.
    Round(Round),
}

impl Coordinator {
    pub(super) fn begin_checkpoint_if_due(&mut self, now: Duration) {
        let run = &mut self.checkpoint;
        if run.current.is_some() || run.store.is_none() {
            return;
        }
        let last = self.phase == Phase::Draining;
        let due = now.saturating_sub(run.last_begun) >= self.pipeline.checkpoint.interval;
        if !last && !due {
            return;
        }
        run.last_begun = now;
        let missing = (0..self.workers.len()).map(WorkerId).collect();
        let stage = Stage::Workers {
            missing,
            views: BTreeMap::new(),
        };
        run.current = Some(Barrier {
            epoch: run.epoch.next(),
            last,
            started: now,
            stage,
            spans: CheckpointSpans::begin(run.epoch.next(), run.generation, last),
        });
        for worker in &self.workers {
            order(worker, Command::Barrier);
        }
    }

    pub(super) fn at_barrier(
        &mut self,
        worker: WorkerId,
        panes: Panes,
        view: WorkerView,
    ) -> Result<(), EngineError> {
        self.keep(panes)?;
        let Some(Barrier {
            epoch,
            last,
            stage: Stage::Workers { missing, views },
            ..
        }) = &mut self.checkpoint.current
        else {
            return Err(unasked(Unasked));
        };
        missing.remove(&worker);
        views.insert(worker, view);
        if !missing.is_empty() {
            return Ok(());
        }
        let (epoch, last, views) = (*epoch, *last, std::mem::take(views));
        if last && self.options.close_windows {
            self.fire_all()?;
        }
        let frozen = self.freeze(epoch, &views)?;
        let sinks = self.sinks.iter().map(|sink| sink.name.clone()).collect();
        let (round, next) = Round::begin(frozen, sinks, last);
        if let Some(current) = &mut self.checkpoint.current {
            current.stage = Stage::Round(round);
        }
        self.resume_when_sent = !last;
        self.act(next)?;
        self.send_all_unsent()
    }

    /// The round that is on its way.
    fn round(&mut self) -> Result<&mut Round, EngineError> {
        match &mut self.checkpoint.current {
            Some(Barrier {
                stage: Stage::Round(round),
                ..
            }) => Ok(round),
            _ => Err(unasked(Unasked)),
        }
    }

    /// A stage of the checkpoint begins: its span.
    fn enter(&mut self, stage: spans::Stage) -> Span {
        match &mut self.checkpoint.current {
            Some(current) => {
                current.spans.enter(stage);
                current.spans.stage().clone()
            }
            None => Span::none(),
        }
    }

    /// Does what a round says.
    fn act(&mut self, next: Next) -> Result<(), EngineError> {
        match next {
            Next::Wait => Ok(()),
            Next::PreCommit {
                epoch,
                last,
                offsets,
            } => {
                let stage = self.enter(spans::Stage::PreCommit);
                (0..self.sinks.len()).try_for_each(|sink| {
                    let command = SinkCommand::PreCommit {
                        epoch,
                        last,
                        offsets: offsets.clone(),
                        span: spans::sink(&stage, &self.sinks[sink].name),
                    };
                    self.tell(SinkId(sink), command)
                })
            }
            Next::Store(frozen) => {
                self.store(frozen);
                Ok(())
            }
            Next::Put(manifest) => {
                self.put(manifest);
                Ok(())
            }
            Next::Commit(permits) => {
                let stage = self.enter(spans::Stage::Commit);
                permits.into_iter().try_for_each(|(sink, permit)| {
                    let span = spans::sink(&stage, &self.sinks[sink.0].name);
                    self.tell(sink, SinkCommand::Commit(permit, span))
                })
            }
            Next::Complete { manifest, last } => self.complete(*manifest, last),
            Next::Finished => {
                self.checkpoint.current = None;
                self.phase = Phase::Finished;
                Ok(())
            }
            Next::Fenced(epoch) => Err(EngineError::Fenced {
                by: format!("another instance, which has put checkpoint {epoch}"),
            }),
        }
    }

    pub(super) fn pre_committed(
        &mut self,
        sink: SinkId,
        pre_commit: PreCommit,
        committed: Committed,
    ) -> Result<(), EngineError> {
        let mut total = self.sinks[sink.0].before;
        total += committed;
        let next = self.round()?.pre_committed(sink, pre_commit, total);
        self.act(next.map_err(unasked)?)
    }

    pub(super) fn stored(
        &mut self,
        store: Box<CheckpointStore>,
        manifest: Box<Manifest>,
        outcome: Stored,
    ) -> Result<(), EngineError> {
        self.checkpoint.store = Some(store);
        if outcome == Stored::Ours {
            self.checkpoint.epoch = manifest.epoch;
            self.checkpoint.files.clone_from(&manifest.files);
        }
        let next = self.round()?.stored(manifest, outcome);
        self.act(next.map_err(unasked)?)
    }

    pub(super) fn committed(&mut self, sink: SinkId) -> Result<(), EngineError> {
        let next = self.round()?.committed(sink);
        self.act(next.map_err(unasked)?)
    }

    /// The checkpoint and everything that hung on it is done.
    fn complete(&mut self, manifest: Manifest, last: bool) -> Result<(), EngineError> {
        let now = self.clock.monotonic();
        let run = &mut self.checkpoint;
        run.completed += 1;
        run.last_done = Some(now);
        if let Some(barrier) = &run.current {
            run.last_took = Some(now.saturating_sub(barrier.started));
            tracing::debug!(epoch = barrier.epoch.0, took = ?run.last_took, "checkpoint");
        }
        let bytes = self.note_checkpoint(&manifest);
        if let Some(barrier) = &self.checkpoint.current {
            barrier.spans.measured(bytes);
        }
        self.show_positions(&manifest);
        if !last {
            self.checkpoint.current = None;
            self.collect_garbage();
            return Ok(());
        }
        let committed = self.sinks.iter().map(|sink| {
            let mut total = sink.before;
            total += *lock(&sink.count);
            total
        });
        let committed: Vec<Committed> = committed.collect();
        let next = self.round()?.settle(manifest, &committed);
        self.act(next)
    }

    /// Writes a checkpoint, in the background.
    fn store(&mut self, frozen: Box<Frozen>) {
        let Some(mut store) = self.checkpoint.store.take() else {
            return;
        };
        let inbox = self.to_self.clone();
        let span = self.enter(spans::Stage::Store);
        self.tokio.spawn(async move {
            let stored = frozen.store(&mut store).instrument(span).await;
            let message = match stored {
                Ok((manifest, outcome)) => Message::Stored {
                    store,
                    manifest: Box::new(manifest),
                    outcome,
                },
                Err(error) => Message::Failed(error.into()),
            };
            reply(inbox, message).await;
        });
    }

    /// Puts a manifest that refers to no new state file, in the background.
    fn put(&mut self, manifest: Box<Manifest>) {
        let Some(mut store) = self.checkpoint.store.take() else {
            return;
        };
        let inbox = self.to_self.clone();
        let span = self.enter(spans::Stage::Settle);
        self.tokio.spawn(async move {
            let message = match store.put(&manifest).instrument(span).await {
                Ok(outcome) => Message::Stored {
                    store,
                    manifest,
                    outcome,
                },
                Err(error) => Message::Failed(error.into()),
            };
            reply(inbox, message).await;
        });
    }

    /// Shows a durable checkpoint's positions to the sources' own tools. Nothing depends on it.
    fn show_positions(&self, manifest: &Manifest) {
        for source in &self.sources {
            let Some(state) = manifest.sources.get(&source.started.name) else {
                continue;
            };
            let positions: Vec<(Partition, Offset)> = state
                .partitions
                .iter()
                .map(|(id, state)| (*id, state.next))
                .collect();
            if let Err(error) = source.started.connector.show_positions(&positions) {
                let checkpoint = self.checkpoint.current.as_ref();
                let checkpoint = checkpoint.and_then(|current| current.spans.whole().id());
                tracing::warn!(parent: checkpoint, %error, "offsets not shown to the consumer group");
            }
        }
    }

    fn collect_garbage(&mut self) {
        let Some(mut store) = self.checkpoint.store.take() else {
            return;
        };
        let inbox = self.to_self.clone();
        self.tokio.spawn(async move {
            let collected = async {
                if let Err(error) = store.collect_garbage().await {
                    tracing::warn!(%error, "old checkpoints not deleted; tried again after the next");
                }
            };
            collected.instrument(spans::garbage()).await;
            reply(inbox, Message::Collected { store }).await;
        });
    }

    pub(super) fn waiting_for(&self) -> String {
        match &self.checkpoint.current {
            None => "the checkpoint store".to_owned(),
            Some(barrier) => match &barrier.stage {
                Stage::Workers { missing, .. } => format!("{} workers", missing.len()),
                Stage::Round(round) => round.waiting_for(),
            },
        }
    }
}

fn unasked(_: Unasked) -> EngineError {
    EngineError::internal("coordinator", "a reply that nobody asked for")
}

/// Sends from a task; the inbox holds every reply there can be, so this does not wait for long.
async fn reply(inbox: SyncSender<Message>, message: Message) {
    // If the coordinator has gone, nobody needs the answer.
    let sent = tokio::task::spawn_blocking(move || drop(inbox.send(message)));
    let _ = sent.await;
}
