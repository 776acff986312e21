//! A checkpoint's way from its barrier to its last commit, as a machine: what happened goes in, what
//! to do next comes out. It knows no thread, no clock and no store, so the order of a checkpoint
//! stands in one place and can be walked through by a simulation step by step.
//!
//! ```text
//!   pre-commit (every sink) ─> store (state files, manifest) ─> commit (every sink) ─> complete
//!                                        └─ taken: fenced                                 │
//!                                                              settle (the run's last) <──┘
//! ```
//!
//! This is the only place that hands out a [`CommitPermit`] for a manifest that was put: INV-OWNER.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::barrier::Frozen;
use super::message::SinkId;
use crate::checkpoint::{Manifest, SinkState, Stored};
use crate::sink::{CommitPermit, Committed, PreCommit};
use crate::units::Epoch;

/// A checkpoint on its way.
pub struct Round {
    /// Names of the sinks, in the order of their ids.
    sinks: Vec<String>,
    /// Whether the run ends with it.
    last: bool,
    stage: Stage,
}

/// What is waited for.
enum Stage {
    /// Sinks, to make their rows durable.
    Sinks {
        missing: BTreeSet<SinkId>,
        done: BTreeMap<SinkId, SinkState>,
        frozen: Box<Frozen>,
    },
    /// The store.
    Store,
    /// Sinks, to make their rows visible.
    Commits {
        missing: BTreeSet<SinkId>,
        manifest: Box<Manifest>,
    },
    /// Nobody: the manifest's work is done.
    Complete,
    /// The store, for a manifest which says that nothing is left to do.
    Settle,
}

/// What to do next.
pub enum Next {
    /// Wait for what has been asked for.
    Wait,
    /// Have every sink pre-commit, after all rows that belong to the checkpoint.
    PreCommit {
        /// The checkpoint's number.
        epoch: Epoch,
        /// Whether the run ends with it.
        last: bool,
        /// Where the sources stand, for people.
        offsets: Arc<str>,
    },
    /// Write state files and manifest.
    Store(Box<Frozen>),
    /// Have each of these sinks commit.
    Commit(Vec<(SinkId, CommitPermit)>),
    /// Everything is visible: show the manifest's positions, then [`Round::settle`] if the run ends
    /// with it, else collect garbage.
    Complete {
        /// The manifest.
        manifest: Box<Manifest>,
        /// Whether the run ends with it.
        last: bool,
    },
    /// Put this manifest; it refers to no new state file.
    Put(Box<Manifest>),
    /// The run is over.
    Finished,
    /// Another instance has put the checkpoint of this number: stop, and make nothing visible.
    Fenced(Epoch),
}

/// Something was said that nobody had asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unasked;

impl Round {
    /// Begins with what was fixed at the barrier.
    pub fn begin(frozen: Frozen, sinks: Vec<String>, last: bool) -> (Self, Next) {
        let (epoch, offsets) = (
            frozen.manifest.epoch,
            frozen.manifest.describe_offsets().into(),
        );
        let mut round = Self {
            stage: Stage::Sinks {
                missing: (0..sinks.len()).map(SinkId).collect(),
                done: BTreeMap::new(),
                frozen: Box::new(frozen),
            },
            sinks,
            last,
        };
        let next = if round.sinks.is_empty() {
            round.store_if_ready()
        } else {
            Next::PreCommit {
                epoch,
                last,
                offsets,
            }
        };
        (round, next)
    }

    /// A sink's rows are durable; `committed` is all that it has ever made visible.
    pub fn pre_committed(
        &mut self,
        sink: SinkId,
        pre_commit: PreCommit,
        committed: Committed,
    ) -> Result<Next, Unasked> {
        let Stage::Sinks {
            missing,
            done,
            frozen,
        } = &mut self.stage
        else {
            return Err(Unasked);
        };
        if !missing.remove(&sink) {
            return Err(Unasked);
        }
        done.insert(
            sink,
            frozen.sink(&self.sinks[sink.0], pre_commit, committed),
        );
        Ok(self.store_if_ready())
    }

    /// Hands the checkpoint to the store once every sink has pre-committed.
    fn store_if_ready(&mut self) -> Next {
        match std::mem::replace(&mut self.stage, Stage::Store) {
            Stage::Sinks {
                missing,
                done,
                mut frozen,
            } if missing.is_empty() => {
                for (sink, state) in done {
                    let name = self.sinks[sink.0].clone();
                    frozen.manifest.sinks.insert(name, state);
                }
                Next::Store(frozen)
            }
            other => {
                self.stage = other;
                Next::Wait
            }
        }
    }

    /// The manifest was put, or its epoch was taken.
    pub fn stored(&mut self, manifest: Box<Manifest>, outcome: Stored) -> Result<Next, Unasked> {
        if outcome == Stored::Taken {
            return Ok(Next::Fenced(manifest.epoch));
        }
        match self.stage {
            Stage::Settle => Ok(Next::Finished),
            Stage::Store => {
                let missing: BTreeSet<SinkId> = (0..self.sinks.len()).map(SinkId).collect();
                // INV-OWNER: this manifest has just been put by this instance.
                let permits = missing
                    .iter()
                    .map(|sink| (*sink, CommitPermit::new(manifest.epoch)))
                    .collect();
                self.stage = Stage::Commits { missing, manifest };
                Ok(match self.complete_if_ready() {
                    Next::Wait => Next::Commit(permits),
                    next => next,
                })
            }
            _ => Err(Unasked),
        }
    }

    /// A sink's rows are visible.
    pub fn committed(&mut self, sink: SinkId) -> Result<Next, Unasked> {
        let Stage::Commits { missing, .. } = &mut self.stage else {
            return Err(Unasked);
        };
        if !missing.remove(&sink) {
            return Err(Unasked);
        }
        Ok(self.complete_if_ready())
    }

    fn complete_if_ready(&mut self) -> Next {
        match std::mem::replace(&mut self.stage, Stage::Complete) {
            Stage::Commits { missing, manifest } if missing.is_empty() => Next::Complete {
                manifest,
                last: self.last,
            },
            other => {
                self.stage = other;
                Next::Wait
            }
        }
    }

    /// Ends the run with a manifest without work; `committed` is what each sink has ever made
    /// visible.
    pub fn settle(&mut self, mut manifest: Manifest, committed: &[Committed]) -> Next {
        for (name, committed) in self.sinks.iter().zip(committed) {
            if let Some(state) = manifest.sinks.get_mut(name) {
                state.committed = *committed;
            }
        }
        self.stage = Stage::Settle;
        Next::Put(Box::new(manifest.settled()))
    }

    /// What it waits for, for people.
    pub fn waiting_for(&self) -> String {
        let names = |missing: &BTreeSet<SinkId>| {
            let names: Vec<&str> = missing.iter().map(|s| self.sinks[s.0].as_str()).collect();
            names.join(", ")
        };
        match &self.stage {
            Stage::Sinks { missing, .. } => format!("rows to become durable in {}", names(missing)),
            Stage::Commits { missing, .. } => format!("commits in {}", names(missing)),
            Stage::Store | Stage::Complete | Stage::Settle => "the checkpoint store".to_owned(),
        }
    }
}
