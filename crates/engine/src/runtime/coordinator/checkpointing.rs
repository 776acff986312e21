//! Checkpoints: from the barrier to the last commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::{Coordinator, order};
use crate::checkpoint::{CheckpointStore, Manifest, Stored};
use crate::runtime::barrier::{Barrier, Stage, settled};
use crate::runtime::error::EngineError;
use crate::runtime::message::{
    Command, Message, Panes, SinkCommand, SinkId, WorkerId, WorkerView, lock,
};
use crate::runtime::status::Phase;
use crate::sink::{CommitPermit, Committed, PreCommit};
use crate::units::{Offset, Partition};

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
            return Err(EngineError::internal(
                "coordinator",
                "a barrier nobody asked for",
            ));
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
        let sinks: BTreeSet<SinkId> = (0..self.sinks.len()).map(SinkId).collect();
        let offsets: Arc<str> = frozen.manifest.describe_offsets().into();
        for sink in &sinks {
            let offsets = Arc::clone(&offsets);
            let command = SinkCommand::PreCommit {
                epoch,
                last,
                offsets,
            };
            self.tell(*sink, command)?;
        }
        self.resume_when_sent = !last;
        let stage = Stage::Sinks {
            missing: sinks,
            done: BTreeMap::new(),
            frozen: Box::new(frozen),
        };
        self.set_stage(stage);
        self.store_if_ready();
        self.send_all_unsent()
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some(current) = &mut self.checkpoint.current {
            current.stage = stage;
        }
    }

    pub(super) fn pre_committed(
        &mut self,
        sink: SinkId,
        pre_commit: PreCommit,
        committed: Committed,
    ) -> Result<(), EngineError> {
        let Some(Barrier {
            stage:
                Stage::Sinks {
                    missing,
                    done,
                    frozen,
                },
            ..
        }) = &mut self.checkpoint.current
        else {
            return Err(EngineError::internal(
                "coordinator",
                "a pre-commit nobody asked for",
            ));
        };
        let run = &self.sinks[sink.0];
        let mut total = run.before;
        total += committed;
        missing.remove(&sink);
        done.insert(sink, frozen.sink(&run.name, pre_commit, total));
        self.store_if_ready();
        Ok(())
    }

    /// Hands the checkpoint to the store once every sink has pre-committed.
    fn store_if_ready(&mut self) {
        let Some(current) = &mut self.checkpoint.current else {
            return;
        };
        if !matches!(&current.stage, Stage::Sinks { missing, .. } if missing.is_empty()) {
            return;
        }
        let stage = std::mem::replace(&mut current.stage, Stage::Store);
        let (
            Stage::Sinks {
                done, mut frozen, ..
            },
            Some(mut store),
        ) = (stage, self.checkpoint.store.take())
        else {
            return;
        };
        for (sink, state) in done {
            frozen
                .manifest
                .sinks
                .insert(self.sinks[sink.0].name.clone(), state);
        }
        let inbox = self.to_self.clone();
        self.tokio.spawn(async move {
            let message = match frozen.store(&mut store).await {
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

    pub(super) fn stored(
        &mut self,
        store: Box<CheckpointStore>,
        manifest: Box<Manifest>,
        outcome: Stored,
    ) -> Result<(), EngineError> {
        self.checkpoint.store = Some(store);
        if outcome == Stored::Taken {
            return Err(EngineError::Fenced {
                by: format!(
                    "another instance, which has put checkpoint {}",
                    manifest.epoch
                ),
            });
        }
        self.checkpoint.epoch = manifest.epoch;
        self.checkpoint.files.clone_from(&manifest.files);
        if matches!(&self.checkpoint.current, Some(barrier) if matches!(barrier.stage, Stage::Settle))
        {
            self.checkpoint.current = None;
            self.phase = Phase::Finished;
            return Ok(());
        }
        let missing: BTreeSet<SinkId> = (0..self.sinks.len()).map(SinkId).collect();
        for sink in &missing {
            // INV-OWNER: this manifest has just been put by this instance.
            self.tell(
                *sink,
                SinkCommand::Commit(CommitPermit::new(manifest.epoch)),
            )?;
        }
        let done = missing.is_empty();
        self.set_stage(Stage::Commits { missing, manifest });
        if done {
            self.complete();
        }
        Ok(())
    }

    pub(super) fn committed(&mut self, sink: SinkId) -> Result<(), EngineError> {
        let Some(Barrier {
            stage: Stage::Commits { missing, .. },
            ..
        }) = &mut self.checkpoint.current
        else {
            return Err(EngineError::internal(
                "coordinator",
                "a commit nobody asked for",
            ));
        };
        missing.remove(&sink);
        if missing.is_empty() {
            self.complete();
        }
        Ok(())
    }

    /// The checkpoint and everything that hung on it is done.
    fn complete(&mut self) {
        let Some(barrier) = self.checkpoint.current.take() else {
            return;
        };
        let now = self.clock.monotonic();
        self.checkpoint.completed += 1;
        self.checkpoint.last_took = Some(now.saturating_sub(barrier.started));
        self.checkpoint.last_done = Some(now);
        tracing::debug!(epoch = barrier.epoch.0, took = ?self.checkpoint.last_took, "checkpoint");
        let Stage::Commits { manifest, .. } = barrier.stage else {
            return;
        };
        self.note_checkpoint(&manifest);
        self.show_positions(&manifest);
        if barrier.last {
            self.settle(*manifest);
        } else {
            self.collect_garbage();
        }
    }

    /// Puts a manifest without work, the last of the run.
    fn settle(&mut self, mut last: Manifest) {
        for sink in &self.sinks {
            if let Some(state) = last.sinks.get_mut(&sink.name) {
                state.committed = sink.before;
                state.committed += *lock(&sink.count);
            }
        }
        let manifest = settled(last);
        self.checkpoint.current = Some(Barrier {
            epoch: manifest.epoch,
            last: true,
            started: self.clock.monotonic(),
            stage: Stage::Settle,
        });
        let Some(mut store) = self.checkpoint.store.take() else {
            return;
        };
        let inbox = self.to_self.clone();
        self.tokio.spawn(async move {
            let message = match store.put(&manifest).await {
                Ok(outcome) => Message::Stored {
                    store,
                    manifest: Box::new(manifest),
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
                tracing::warn!(%error, "offsets not shown to the consumer group");
            }
        }
    }

    fn collect_garbage(&mut self) {
        let Some(mut store) = self.checkpoint.store.take() else {
            return;
        };
        let inbox = self.to_self.clone();
        self.tokio.spawn(async move {
            if let Err(error) = store.collect_garbage().await {
                tracing::warn!(%error, "old checkpoints not deleted; tried again after the next");
            }
            reply(inbox, Message::Collected { store }).await;
        });
    }

    pub(super) fn waiting_for(&self) -> String {
        let Some(barrier) = &self.checkpoint.current else {
            return "the checkpoint store".into();
        };
        let names = |missing: &BTreeSet<SinkId>| {
            let names: Vec<&str> = missing
                .iter()
                .map(|sink| self.sinks[sink.0].name.as_str())
                .collect();
            names.join(", ")
        };
        match &barrier.stage {
            Stage::Workers { missing, .. } => format!("{} workers", missing.len()),
            Stage::Sinks { missing, .. } => format!("rows to become durable in {}", names(missing)),
            Stage::Store | Stage::Settle => "the checkpoint store".to_owned(),
            Stage::Commits { missing, .. } => format!("commits in {}", names(missing)),
        }
    }
}

/// Sends from a task; the inbox holds every reply there can be, so this does not wait for long.
async fn reply(inbox: SyncSender<Message>, message: Message) {
    // If the coordinator has gone, nobody needs the answer.
    let _ = tokio::task::spawn_blocking(move || inbox.send(message)).await;
}
