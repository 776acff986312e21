//! Source monitors: what a source's server says beside its records.
//!
//! One thread a source asks for partition ends (lag, and proof that the server answers) and for
//! new partitions, so that no slow answer holds the coordinator or a worker up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::StopSignal;
use super::message::lock;
use crate::clock::Clock;
use crate::source::{Connector, SourceError};
use crate::units::{Offset, Partition};

/// Time between questions for partition ends.
const ENDS_EVERY: Duration = Duration::from_secs(1);

/// Time between questions for new partitions.
const PARTITIONS_EVERY: Duration = Duration::from_secs(5);

/// An answer older than this says nothing about the source being reachable now.
const STALE_AFTER: Duration = Duration::from_secs(3);

/// A source that its server calls missing for this long has been deleted. A server that has just
/// started may not know yet what it has.
const GONE_AFTER: Duration = Duration::from_secs(15);

/// Slice in which the thread looks whether it should end.
const NAP: Duration = Duration::from_millis(50);

/// What a source's server last said.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    /// Monotonic time of the last answer.
    pub(super) answered_at: Option<Duration>,
    /// Ends of the partitions.
    pub(super) ends: BTreeMap<Partition, Offset>,
    /// Partitions that exist.
    pub(super) partitions: Vec<Partition>,
    /// Why the last question failed, if it did.
    pub(super) trouble: Option<String>,
    /// Since when the server has said, each time it was asked, that the source does not exist.
    pub(super) missing_since: Option<Duration>,
    /// Set when that has been so for [`GONE_AFTER`]: the run cannot go on.
    pub(super) gone: Option<SourceError>,
    /// The log has been told that the server is silent.
    pub(super) silence_told: bool,
}

impl Health {
    fn note_missing(&mut self, error: SourceError, now: Duration) {
        let since = *self.missing_since.get_or_insert(now);
        if now.saturating_sub(since) >= GONE_AFTER {
            self.gone = Some(error);
        }
    }

    /// Whether the server has answered lately.
    pub(super) fn is_reachable(&self, now: Duration) -> bool {
        self.answered_at
            .is_some_and(|at| now.saturating_sub(at) < STALE_AFTER)
    }

    /// Tells the log when the server falls silent and when it speaks again. Not for the thread that
    /// asks: it may wait for an answer meanwhile, and for long.
    pub(super) fn tell_silence(&mut self, source: &str, now: Duration) {
        let silent = !self.is_reachable(now);
        if std::mem::replace(&mut self.silence_told, silent) == silent {
            return;
        }
        if silent {
            let reason = self.trouble.as_deref().unwrap_or("no answer yet");
            tracing::warn!(source, reason, "source does not answer");
        } else {
            tracing::info!(source, "source answers again");
        }
    }
}

/// Asks `connector` until `stop`.
pub(super) fn watch(
    connector: &dyn Connector,
    clock: &Arc<dyn Clock>,
    health: &Mutex<Health>,
    stop: &StopSignal,
) {
    let mut asked_partitions: Option<Duration> = None;
    while !stop.is_stopped() {
        let now = clock.monotonic();
        let due = asked_partitions.is_none_or(|at| now.saturating_sub(at) >= PARTITIONS_EVERY);
        let outcome = ask(connector, health, due);
        let mut health = lock(health);
        match outcome {
            Ok(()) => {
                health.answered_at = Some(clock.monotonic());
                health.trouble = None;
                health.missing_since = None;
                asked_partitions = if due { Some(now) } else { asked_partitions };
            }
            Err(error) => {
                if health.trouble.is_none() {
                    tracing::warn!(%error, "asking a source failed");
                }
                health.trouble = Some(error.to_string());
                match error {
                    SourceError::Missing { .. } => health.note_missing(error, clock.monotonic()),
                    _ => health.missing_since = None,
                }
            }
        }
        drop(health);
        let until = clock.monotonic() + ENDS_EVERY;
        while !stop.is_stopped() && clock.monotonic() < until {
            std::thread::park_timeout(NAP);
        }
    }
}

fn ask(
    connector: &dyn Connector,
    health: &Mutex<Health>,
    partitions_due: bool,
) -> Result<(), SourceError> {
    if partitions_due {
        let partitions = connector.partitions()?;
        lock(health).partitions = partitions;
    }
    let partitions = lock(health).partitions.clone();
    let ends = connector.ends(&partitions)?;
    lock(health).ends = ends.into_iter().collect();
    Ok(())
}
