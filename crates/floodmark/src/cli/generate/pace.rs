//! When events are due.

use std::time::Duration;

/// Events generated and handed on at once, at most.
const MAX_BATCH: u64 = 2_048;
/// Events that fall due within this time are sent together.
const TICK: Duration = Duration::from_millis(2);
/// The longest wait, so that a signal is seen soon.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// A rate kept over time: event `n` is due at `n / rate`, whatever happened before. Whoever falls
/// behind catches up.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Pace {
    /// Events per second; none is as fast as possible.
    rate: Option<f64>,
    /// How long ago the first event was due.
    lead: Duration,
}

impl Pace {
    pub(in crate::cli) fn new(rate: Option<f64>) -> Self {
        Self {
            rate,
            lead: Duration::ZERO,
        }
    }

    /// The same rate, as if it had been kept for this long already: what fell due meanwhile is due
    /// at once.
    pub(in crate::cli) fn since(self, lead: Duration) -> Self {
        Self { lead, ..self }
    }

    /// How far behind a sender is that has sent so many.
    pub(in crate::cli) fn behind(self, sent: u64, elapsed: Duration) -> Duration {
        (self.lead + elapsed).saturating_sub(self.falls_due(sent))
    }

    /// How many events to send now, with so many sent and so much time passed.
    pub(in crate::cli) fn due(self, sent: u64, elapsed: Duration) -> u64 {
        let Some(rate) = self.rate else {
            return MAX_BATCH;
        };
        let due = ((self.lead + elapsed).as_secs_f64() * rate) as u64 + 1;
        due.saturating_sub(sent).min(MAX_BATCH)
    }

    /// How long to wait before asking again.
    pub(in crate::cli) fn wait(self, sent: u64, elapsed: Duration) -> Duration {
        if self.due(sent, elapsed) > 0 {
            return Duration::ZERO;
        }
        let left = self.falls_due(sent).saturating_sub(self.lead + elapsed);
        left.clamp(TICK, MAX_WAIT)
    }

    /// When the event of this number falls due, counted from the first one.
    fn falls_due(self, event: u64) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        Duration::try_from_secs_f64(event as f64 / rate).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events sent by a loop that takes `overhead` a turn, when `end` has passed.
    fn sent_by(pace: Pace, overhead: Duration, end: Duration) -> u64 {
        let (mut sent, mut now) = (0, Duration::ZERO);
        while now < end {
            sent += pace.due(sent, now);
            now += overhead + pace.wait(sent, now + overhead);
        }
        sent
    }

    #[test]
    fn a_rate_is_kept_whatever_a_turn_costs() {
        let end = Duration::from_secs(10);
        for rate in [0.5, 50.0, 1_000.0, 100_000.0] {
            for overhead_us in [0, 10, 5_000] {
                let sent = sent_by(
                    Pace::new(Some(rate)),
                    Duration::from_micros(overhead_us),
                    end,
                );
                let behind = rate * 10.0 - sent as f64;
                assert!(
                    (-1.0..=1.0 + rate * 0.06).contains(&behind),
                    "{rate}: {sent}"
                );
            }
        }
    }

    #[test]
    fn an_event_waits_a_few_milliseconds_at_most() {
        let pace = Pace::new(Some(1_000.0));
        assert_eq!(pace.due(0, Duration::ZERO), 1);
        assert_eq!(pace.wait(1, Duration::ZERO), TICK);
        assert_eq!(pace.due(1, TICK), 2);
    }

    #[test]
    fn who_falls_behind_catches_up_in_bounded_batches() {
        let pace = Pace::new(Some(100_000.0));
        assert_eq!(pace.due(0, Duration::from_secs(60)), MAX_BATCH);
        assert_eq!(
            pace.wait(MAX_BATCH, Duration::from_secs(60)),
            Duration::ZERO
        );
    }

    #[test]
    fn what_fell_due_before_the_start_is_due_at_once() {
        let pace = Pace::new(Some(50.0)).since(Duration::from_secs(10));
        assert_eq!(pace.due(0, Duration::ZERO), 501);
        assert_eq!(pace.behind(0, Duration::ZERO), Duration::from_secs(10));
        assert_eq!(pace.behind(450, Duration::ZERO), Duration::from_secs(1));
        assert_eq!(pace.wait(501, Duration::ZERO), Duration::from_millis(20));
        assert_eq!(pace.behind(501, Duration::ZERO), Duration::ZERO);
        assert_eq!(pace.due(501, Duration::from_secs(1)), 50);
    }

    #[test]
    fn as_fast_as_possible_never_waits() {
        let pace = Pace::new(None);
        assert_eq!(pace.due(1_000_000, Duration::ZERO), MAX_BATCH);
        assert_eq!(pace.wait(1_000_000, Duration::ZERO), Duration::ZERO);
    }
}
