//! A clock that stands still until it is told.

use std::sync::Mutex;
use std::time::Duration;

use super::source::lock;
use crate::clock::Clock;

/// A clock set by hand.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    monotonic: Duration,
    wall_ms: i64,
}

impl ManualClock {
    /// A clock at this wall time, milliseconds since 1970, and at monotonic time 0.
    pub fn at(wall_ms: i64) -> Self {
        Self {
            now: Mutex::new(Now {
                monotonic: Duration::ZERO,
                wall_ms,
            }),
        }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let mut now = lock(&self.now);
        let whole_ms = |at: Duration| at.as_millis() as i64;
        let before = whole_ms(now.monotonic);
        now.monotonic += by;
        now.wall_ms += whole_ms(now.monotonic) - before;
    }

    /// Sets the wall clock, as an operator or a time server might, back too.
    pub fn set_wall(&self, wall_ms: i64) {
        lock(&self.now).wall_ms = wall_ms;
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        lock(&self.now).monotonic
    }

    fn wall_ms(&self) -> i64 {
        lock(&self.now).wall_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_times_move_together_unless_the_wall_is_set() {
        let clock = ManualClock::at(1_000);
        clock.advance(Duration::from_micros(1_500));
        clock.advance(Duration::from_micros(500));
        assert_eq!(
            (clock.monotonic(), clock.wall_ms()),
            (Duration::from_millis(2), 1_002)
        );
        clock.set_wall(500);
        assert_eq!(
            (clock.monotonic(), clock.wall_ms()),
            (Duration::from_millis(2), 500)
        );
    }
}
