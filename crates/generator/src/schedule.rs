//! Whose turn it is, and at what event time: a pure function of the event's number.
//!
//! Devices report in rounds. Within a round they take turns in a scattered but fixed order, so that each
//! device keeps its interval and neighbours in the stream are not neighbours on the line.

use crate::config::{Config, MAX_TIME_MS};

/// Walks over the events in order.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    start_ms: i64,
    /// Event time between two events, in 2^-32 milliseconds.
    step: u64,
    devices: u32,
    /// Added to a device's index to get the next one, modulo `devices`, of which it is no divisor.
    stride: u32,
    event: u64,
    slot: u32,
    device: u32,
    round: u64,
}

/// One event's place in the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    /// The event's number, from 0.
    pub event: u64,
    /// Index of the device, from 0.
    pub device: u32,
    /// How often every device has reported before.
    pub round: u64,
    /// Event time without disorder.
    pub time_ms: i64,
}

impl Schedule {
    /// Of a valid configuration.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            start_ms: config.start_ms,
            step: ((config.step_ms() * 4_294_967_296.0) as u64).max(1),
            devices: config.devices,
            stride: stride(config.devices),
            event: 0,
            slot: 0,
            device: config.devices - 1,
            round: 0,
        }
    }

    /// The number of the next event.
    pub(crate) fn position(&self) -> u64 {
        self.event
    }

    /// Event time of an event, without disorder.
    #[inline]
    pub(crate) fn time_ms(&self, event: u64) -> i64 {
        let passed = (u128::from(event) * u128::from(self.step)) >> 32;
        // The bound makes the conversion exact.
        let passed = passed.min(MAX_TIME_MS as u128) as i64;
        (self.start_ms + passed).min(MAX_TIME_MS)
    }

    /// The next event's turn.
    #[inline]
    pub(crate) fn next_turn(&mut self) -> Turn {
        let turn = Turn {
            event: self.event,
            device: self.device,
            round: self.round,
            time_ms: self.time_ms(self.event),
        };
        self.event += 1;
        self.slot += 1;
        self.device += self.stride;
        if self.device >= self.devices {
            self.device -= self.devices;
        }
        if self.slot == self.devices {
            self.slot = 0;
            self.round += 1;
        }
        turn
    }

    /// Goes to the event of this number.
    pub(crate) fn seek(&mut self, event: u64) {
        let devices = u64::from(self.devices);
        self.event = event;
        self.round = event / devices;
        self.slot = (event % devices) as u32;
        let walked = u64::from(self.slot) * u64::from(self.stride);
        self.device = ((devices - 1 + walked) % devices) as u32;
    }
}

/// A number near the golden section of `devices` that shares no divisor with it.
fn stride(devices: u32) -> u32 {
    if devices == 1 {
        return 0;
    }
    let golden = (f64::from(devices) * 0.618_033_988) as u32;
    (golden.max(1)..devices)
        .find(|&stride| coprime(stride, devices))
        .unwrap_or(1)
}

fn coprime(mut a: u32, mut b: u32) -> bool {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Spacing;

    #[test]
    fn every_device_reports_once_a_round() {
        for devices in [1, 2, 3, 10, 97, 1_000] {
            let mut schedule = Schedule::new(&Config {
                devices,
                ..Config::default()
            });
            for round in 0..3 {
                let mut seen = vec![false; devices as usize];
                for _ in 0..devices {
                    let turn = schedule.next_turn();
                    assert_eq!(turn.round, round);
                    assert!(!std::mem::replace(&mut seen[turn.device as usize], true));
                }
            }
        }
    }

    #[test]
    fn seeking_agrees_with_walking() {
        let config = Config {
            devices: 7,
            ..Config::default()
        };
        let mut walked = Schedule::new(&config);
        for event in 0..50 {
            let mut sought = Schedule::new(&config);
            sought.seek(event);
            assert_eq!(sought.next_turn(), walked.next_turn());
        }
    }

    #[test]
    fn an_interval_passes_in_one_round() {
        let schedule = Schedule::new(&Config {
            devices: 300,
            spacing: Spacing::Interval(Duration::from_secs(2)),
            ..Config::default()
        });
        let passed = schedule.time_ms(300 * 1_000_000) - schedule.time_ms(0);
        assert!(
            (2_000_000_000 - 10..=2_000_000_000).contains(&passed),
            "{passed}"
        );
    }

    #[test]
    fn event_time_stops_at_the_last_writable_instant() {
        let schedule = Schedule::new(&Config {
            start_ms: MAX_TIME_MS - 5,
            ..Config::default()
        });
        assert_eq!(schedule.time_ms(u64::MAX), MAX_TIME_MS);
    }
}
