//! When events are due.

use std::time::Duration;

/// Events generated and handed on at once, at most.
const MAX_BATCH: u64 = 8_192;
/// Events that fall due within this time are sent together.
const TICK: Duration = Duration::from_millis(2);
/// The longest wait, so that a signal is seen soon.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// A rate kept over time: event `n` is due at `n / rate`, whatever happened before. Whoever falls
/// behind catches up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Events per second; none is as fast as possible.
    rate: Option<f64>,
}

impl Pace {
    pub(super) fn new(rate: Option<f64>) -> Self {
        Self { rate }
    }

    /// How many events to send now, with so many sent and so much time passed.
    pub(super) fn due(self, sent: u64, elapsed: Duration) -> u64 {
        let Some(rate) = self.rate else {
            return MAX_BATCH;
        };
        let due = (elapsed.as_secs_f64() * rate) as u64 + 1;
        due.saturating_sub(sent).min(MAX_BATCH)
    }

    /// How long to wait before asking again.
    pub(super) fn wait(self, sent: u64, elapsed: Duration) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        if self.due(sent, elapsed) > 0 {
            return Duration::ZERO;
        }
        let next = Duration::try_from_secs_f64(sent as f64 / rate).unwrap_or(Duration::MAX);
        next.saturating_sub(elapsed).clamp(TICK, MAX_WAIT)
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
    fn as_fast_as_possible_never_waits() {
        let pace = Pace::new(None);
        assert_eq!(pace.due(1_000_000, Duration::ZERO), MAX_BATCH);
        assert_eq!(pace.wait(1_000_000, Duration::ZERO), Duration::ZERO);
    }
}
