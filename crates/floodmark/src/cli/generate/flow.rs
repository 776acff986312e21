//! The loop that generates events when they are due: that of `floodmark generate` and of the demo.
//!
//! ```text
//! pace: how many are due ─► the caller: go on? how many at most? ─► simulator ─► target
//! ```

use std::time::{Duration, Instant};

use floodmark_generator::{Batch, Simulator, Tally};

use super::pace::Pace;
use super::plan::Ending;
use super::target::{Sent, Target};

/// Where a flow of events stands, before its next batch.
#[derive(Debug)]
pub(in crate::cli) struct Standing<'a> {
    /// What was sent.
    pub(in crate::cli) tally: &'a Tally,
    /// For how long events have flowed.
    pub(in crate::cli) elapsed: Duration,
    /// Event time of the next event, disorder and lateness aside.
    pub(in crate::cli) event_time_ms: i64,
    /// Events that are due now.
    pub(in crate::cli) due: u64,
}

/// How a flow goes on.
#[derive(Debug)]
pub(in crate::cli) enum Next {
    /// With what is due, but no more than this.
    AtMost(u64),
    /// Not at all: what was sent is seen delivered.
    End(Ending),
}

/// Sends events to the target when they are due, until `decide`, asked before each batch, ends it;
/// returns once everything is delivered.
pub(in crate::cli) fn flow(
    simulator: &mut Simulator,
    pace: Pace,
    target: &mut Target,
    started: Instant,
    mut decide: impl FnMut(&Standing<'_>) -> anyhow::Result<Next>,
) -> anyhow::Result<(Tally, Ending)> {
    let (mut batch, mut tally) = (Batch::default(), Tally::default());
    let ending = loop {
        let elapsed = started.elapsed();
        let due = pace.due(tally.events, elapsed);
        let standing = Standing {
            tally: &tally,
            elapsed,
            event_time_ms: simulator.event_time_ms(),
            due,
        };
        let events = match decide(&standing)? {
            Next::AtMost(limit) => due.min(limit),
            Next::End(ending) => break ending,
        };
        if events > 0 {
            // A batch's size: bounded by the pace.
            simulator.fill(&mut batch, events as usize, &mut tally);
            if target.send(&batch)? == Sent::ReaderGone {
                break Ending::ReaderGone;
            }
        }
        std::thread::sleep(pace.wait(tally.events, started.elapsed()));
    };
    target.finish()?;
    Ok((tally, ending))
}
