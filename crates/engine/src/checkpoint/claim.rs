//! Taking a pipeline over: read the newest checkpoint, decide, put its successor.
//!
//! ```text
//!   newest ─> decide ─> where the sources stand ─> put newest + 1, generation + 1, all else as found
//!     ^                                               |
//!     └────── taken, but by the instance that runs ───┴──> ours: this instance owns the pipeline
//! ```

use std::collections::BTreeMap;

use super::manifest::{Manifest, SinkState, SourceState};
use super::recover::{Decision, Expected, decide};
use super::store::{CheckpointError, CheckpointStore, Stored};
use crate::sink::CommitPermit;
use crate::units::{Epoch, Generation};

/// How often a claim is tried again because the running instance has taken a checkpoint meanwhile.
const CLAIM_ATTEMPTS: usize = 20;

/// A pipeline that was taken over. There is none without its manifest having been put.
#[derive(Debug)]
pub struct Claimed {
    manifest: Manifest,
    found: Option<Epoch>,
}

impl Claimed {
    /// The manifest that this instance has put: durable, and it carries all work along.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The same, for a run that begins.
    pub fn into_manifest(self) -> Manifest {
        self.manifest
    }

    /// The checkpoint that it continues; none at a first start.
    pub fn found(&self) -> Option<Epoch> {
        self.found
    }

    /// What a sink has to do again, with the permit to do it. INV-OWNER: the manifest is durable and
    /// carries this work.
    pub fn work(&self, sink: &str) -> Option<(CommitPermit, &SinkState)> {
        let state = self.manifest.sinks.get(sink)?;
        Some((CommitPermit::new(state.epoch), state))
    }

    /// The checkpoint of an instance that has taken over since. Whoever is about to open a sink asks
    /// first: opening fences the producer of the instance that owns the pipeline now.
    pub async fn successor(
        &self,
        store: &mut CheckpointStore,
    ) -> Result<Option<Box<Manifest>>, CheckpointError> {
        if !store.is_overtaken(self.manifest.epoch).await? {
            return Ok(None);
        }
        match owner(store, &self.manifest.instance).await {
            Owner::Ourselves => Ok(None),
            Owner::Successor(newest) => Ok(Some(newest)),
            Owner::Unknown(error) => Err(error),
        }
    }
}

/// Why a pipeline was not taken over. `E` is what can go wrong with its sources.
#[derive(Debug)]
pub enum ClaimError<E> {
    /// The checkpoint cannot be read or written.
    Checkpoint(CheckpointError),
    /// The checkpoint belongs to a pipeline that differs.
    Incompatible {
        /// Each difference.
        differences: Vec<String>,
    },
    /// A source cannot go on from there.
    Sources(E),
    /// Another instance has taken over meanwhile; this one gives way.
    GaveWay {
        /// That instance's newest checkpoint.
        to: Box<Manifest>,
    },
    /// The instance that runs takes checkpoints faster than they can be claimed.
    Outpaced,
}

/// Whose a pipeline is.
#[derive(Debug)]
pub enum Owner {
    /// It belongs to the instance that asks.
    Ourselves,
    /// Another instance has taken over; this is its newest checkpoint.
    Successor(Box<Manifest>),
    /// The checkpoint does not tell.
    Unknown(CheckpointError),
}

/// Takes a pipeline over. `sources` says where the sources stand, given the newest checkpoint; it is
/// asked again for each checkpoint that the instance which runs takes meanwhile. If another one
/// takes over meanwhile, this one gives way.
pub async fn claim<S, E>(
    store: &mut CheckpointStore,
    expected: &Expected,
    instance: &str,
    wall_ms: impl Fn() -> i64,
    mut sources: impl FnMut(Option<&Manifest>) -> Result<(BTreeMap<String, SourceState>, S), E>,
) -> Result<(Claimed, S), ClaimError<E>> {
    let mut seen: Option<Generation> = None;
    for _ in 0..CLAIM_ATTEMPTS {
        let newest = store.newest().await.map_err(ClaimError::Checkpoint)?;
        let generation = newest
            .as_ref()
            .map_or(Generation(0), |newest| newest.generation);
        if *seen.get_or_insert(generation) != generation {
            return Err(match newest {
                Some(newest) => ClaimError::GaveWay {
                    to: Box::new(newest),
                },
                None => ClaimError::Checkpoint(CheckpointError::gone()),
            });
        }
        let found = match decide(newest, expected) {
            Decision::Incompatible { differences } => {
                return Err(ClaimError::Incompatible { differences });
            }
            Decision::Start => None,
            Decision::Resume(manifest) | Decision::ReplayCommit(manifest) => Some(*manifest),
        };
        let (states, sources) = sources(found.as_ref()).map_err(ClaimError::Sources)?;
        let epoch = found.as_ref().map(|found| found.epoch);
        let manifest = successor(found, &expected.pipeline, instance, wall_ms(), states);
        let put = store.put(&manifest).await;
        if put.map_err(ClaimError::Checkpoint)? == Stored::Ours {
            let claimed = Claimed {
                manifest,
                found: epoch,
            };
            return Ok((claimed, sources));
        }
    }
    Err(ClaimError::Outpaced)
}

/// Says whose a pipeline is, to an instance that has claimed it. A sink that was fenced does not know:
/// its server may have given up on a transaction that took too long, or an instance that was replaced
/// long ago has woken up while it was opening its sinks. Taking over always begins with the checkpoint.
pub async fn owner(store: &mut CheckpointStore, instance: &str) -> Owner {
    match store.newest().await {
        Ok(Some(newest)) if newest.instance == instance => Owner::Ourselves,
        Ok(Some(newest)) => Owner::Successor(Box::new(newest)),
        Ok(None) => Owner::Unknown(CheckpointError::gone()),
        Err(error) => Owner::Unknown(error),
    }
}

/// The manifest that takes over from `found`: the generation one higher, everything else as it was
/// found. It also pins the positions of a first start, `latest` included.
fn successor(
    found: Option<Manifest>,
    pipeline: &str,
    instance: &str,
    created_ms: i64,
    sources: BTreeMap<String, SourceState>,
) -> Manifest {
    let (epoch, generation) = found.as_ref().map_or((Epoch(0), Generation(0)), |found| {
        (found.epoch, found.generation)
    });
    let (epoch, generation) = (epoch.next(), generation.next());
    let mut manifest = Manifest::blank(pipeline, epoch, generation, instance, created_ms);
    manifest.sources = sources;
    if let Some(found) = found {
        manifest.lineage = found.lineage;
        manifest.windows = found.windows;
        manifest.sinks = found.sinks;
        manifest.files = found.files;
    }
    manifest
}
