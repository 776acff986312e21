//! Checkpoints: from which point a pipeline goes on, whatever died.
//!
//! A checkpoint is a [`Manifest`], immutable, one object per epoch, created with a conditional put.
//! Beside it lie the state files it names: window chunks and rows that sinks carry.
//!
//! ```text
//! barrier -> sinks pre-commit -> state files put -> manifest put (epoch N) -> sinks commit N
//!                                                        |
//!                    whoever creates manifest N owns epoch N; the other instance is fenced
//! ```
//!
//! - INV-EPOCH: manifest N+1 is put only after the work of manifest N was committed, or carries that
//!   work along, so a recovery has to look at the newest manifest alone.
//! - INV-OWNER: an instance makes something visible only with a [`CommitPermit`], which exists only
//!   for a manifest that this instance has put, or has read back and claimed.
//! - Taking over is putting the next manifest, with the generation one higher and everything else
//!   as it was found. An instance that was thought dead then finds its next epoch taken, and stops
//!   before it makes anything visible.
//! - Recovery is a pure function of what was read: [`decide`].
//!
//! [`CommitPermit`]: crate::sink::CommitPermit

mod codec;
mod manifest;
mod recover;
mod store;

pub use codec::{
    CodecError, decode_batches, decode_manifest, encode_batches, encode_manifest, frame_manifest,
};
pub use manifest::{
    ChunkRef, Manifest, PartitionState, SinkState, SourceState, StateFile, WindowState,
};
pub use recover::{Decision, Expected, decide};
pub use store::{CheckpointError, CheckpointStore, Stored, state_name};
