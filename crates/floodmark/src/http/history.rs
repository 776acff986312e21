//! What passed lately: rates over two seconds, latencies over a minute.
//!
//! The engine only counts up. Twice a second the counts are noted; a rate is the difference to what
//! was noted about two seconds ago, a recent distribution the difference to about a minute ago.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use floodmark_engine::runtime::Status;
use floodmark_engine::telemetry::{Distribution, Telemetry};

/// Time between two notes.
pub(super) const NOTE_EVERY: Duration = Duration::from_millis(500);

/// Rates are taken over this long.
const RATE_OVER: Duration = Duration::from_secs(2);

/// Notes of distributions are this far apart.
const LATENCY_EVERY: Duration = Duration::from_secs(5);

/// Latencies are taken over this long.
const LATENCY_OVER: Duration = Duration::from_secs(60);

/// Counts at one moment.
#[derive(Debug)]
struct Counts {
    at: Instant,
    /// Records and bytes, by source.
    sources: BTreeMap<String, (u64, u64)>,
    /// Visible rows, by output.
    outputs: BTreeMap<String, u64>,
}

/// Latencies at one moment, by output.
#[derive(Debug)]
struct Latencies {
    at: Instant,
    outputs: BTreeMap<String, Distribution>,
}

/// The notes.
#[derive(Debug, Default)]
pub(super) struct History {
    counts: VecDeque<Counts>,
    latencies: VecDeque<Latencies>,
}

impl History {
    /// Notes where things stand at `now`.
    pub(super) fn note(&mut self, now: Instant, status: &Status, telemetry: &Telemetry) {
        let sources = status.sources.iter();
        let sources = sources.map(|(name, source)| (name.clone(), (source.read_now, source.bytes)));
        let outputs = super::sinks::sinks(status);
        let outputs = outputs.map(|(label, _, output)| (label.to_owned(), output.committed.rows));
        self.counts.push_back(Counts {
            at: now,
            sources: sources.collect(),
            outputs: outputs.collect(),
        });
        // The newest note that is old enough is kept: the difference spans the whole time.
        drop_old(&mut self.counts, |counts| counts.at, now, RATE_OVER);
        let due = self
            .latencies
            .back()
            .is_none_or(|last| now.duration_since(last.at) >= LATENCY_EVERY);
        if due {
            let outputs = status.outputs.keys().filter_map(|name| {
                let meter = telemetry.output(name)?;
                Some((name.clone(), meter.latency()))
            });
            self.latencies.push_back(Latencies {
                at: now,
                outputs: outputs.collect(),
            });
            drop_old(&mut self.latencies, |noted| noted.at, now, LATENCY_OVER);
        }
    }

    /// Records and bytes a second that a source has brought.
    pub(super) fn source_rates(&self, name: &str) -> (f64, f64) {
        let rate =
            |of: &dyn Fn(&(u64, u64)) -> u64| self.rate(|counts| counts.sources.get(name).map(of));
        (rate(&|(records, _)| *records), rate(&|(_, bytes)| *bytes))
    }

    /// Rows a second that an output has shown.
    pub(super) fn output_rate(&self, label: &str) -> f64 {
        self.rate(|counts| counts.outputs.get(label).copied())
    }

    fn rate(&self, of: impl Fn(&Counts) -> Option<u64>) -> f64 {
        let (Some(first), Some(last)) = (self.counts.front(), self.counts.back()) else {
            return 0.0;
        };
        let over = last.at.duration_since(first.at).as_secs_f64();
        let (Some(before), Some(after), true) = (of(first), of(last), over > 0.0) else {
            return 0.0;
        };
        after.saturating_sub(before) as f64 / over
    }

    /// What an output's latency has been lately, of all that it has been up to `now`.
    pub(super) fn recent(&self, name: &str, now: &Distribution) -> Distribution {
        let before = self.latencies.front().and_then(|at| at.outputs.get(name));
        before.map_or_else(|| now.clone(), |before| now.since(before))
    }
}

fn drop_old<T>(notes: &mut VecDeque<T>, at: impl Fn(&T) -> Instant, now: Instant, keep: Duration) {
    while notes
        .get(1)
        .is_some_and(|second| now.duration_since(at(second)) >= keep)
    {
        notes.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use floodmark_engine::runtime::SourceStatus;

    use super::*;

    fn status(read_now: u64) -> Status {
        let source = SourceStatus {
            read_now,
            bytes: read_now * 100,
            ..SourceStatus::default()
        };
        Status {
            sources: [("s".to_owned(), source)].into(),
            ..Status::default()
        }
    }

    #[test]
    fn rates_are_over_the_last_two_seconds() {
        let (mut history, telemetry) = (History::default(), Telemetry::new(0));
        let start = Instant::now();
        assert_eq!(history.source_rates("s"), (0.0, 0.0));
        for tick in 0..20_u32 {
            // Ten records a note, then a hundred.
            let read = if tick < 10 {
                tick * 10
            } else {
                100 + (tick - 10) * 100
            };
            history.note(
                start + NOTE_EVERY * tick,
                &status(u64::from(read)),
                &telemetry,
            );
        }
        let (records, bytes) = history.source_rates("s");
        assert_eq!((records, bytes), (200.0, 20_000.0));
        assert!(history.counts.len() <= 6, "{}", history.counts.len());
        assert!(history.latencies.len() <= 14);
        assert_eq!(history.output_rate("absent"), 0.0);
    }
}
