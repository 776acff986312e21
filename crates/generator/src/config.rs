//! What a simulation is asked for, and the bounds within which it can keep its promises.

use std::time::Duration;

/// Most devices of one simulation: their ids have ten digits at most.
pub const MAX_DEVICES: u32 = 1_000_000_000;
/// Earliest start, 1971-01-01T00:00:00Z in milliseconds: keeps every event time after 1970.
pub const MIN_START_MS: i64 = 31_536_000_000;
/// Latest event time, 9999-12-31T23:59:59.999Z in milliseconds: the last one RFC 3339 can write.
pub const MAX_TIME_MS: i64 = 253_402_300_799_999;
/// Largest disorder.
pub const MAX_DISORDER: Duration = Duration::from_hours(30 * 24);
/// Largest event time between two events.
pub const MAX_STEP: Duration = Duration::from_hours(30 * 24);

/// How far apart in event time two successive events are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spacing {
    /// Every device reports once per interval: the more devices, the denser the events.
    Interval(Duration),
    /// So many events of all devices together per second of event time.
    PerSecond(f64),
}

/// A simulation.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Number of devices.
    pub devices: u32,
    /// Seed of every draw.
    pub seed: u64,
    /// Event time of the first event, milliseconds since 1970-01-01T00:00:00Z.
    pub start_ms: i64,
    /// How event time advances.
    pub spacing: Spacing,
    /// Share of readings above a limit, 0 to 1.
    pub anomalies: f64,
    /// Share of late events, 0 to 1.
    pub late: f64,
    /// Share of records that cannot be decoded, 0 to 1.
    pub bad: f64,
    /// Event times lie up to this far, evenly spread, behind the order of events.
    pub disorder: Duration,
    /// Whether one record is one line. A record of zero bytes would vanish there, so there is none.
    pub lines: bool,
}

impl Default for Config {
    /// 1,000 devices that report once a second from 2025-01-01T00:00:00Z on, one reading in a hundred
    /// anomalous, nothing late, bad or out of order.
    fn default() -> Self {
        Self {
            devices: 1_000,
            seed: 42,
            start_ms: 1_735_689_600_000,
            spacing: Spacing::Interval(Duration::from_secs(1)),
            anomalies: 0.01,
            late: 0.0,
            bad: 0.0,
            disorder: Duration::ZERO,
            lines: false,
        }
    }
}

/// Why a [`Config`] cannot be simulated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Number of devices out of bounds.
    #[error("{0} devices: give between 1 and {MAX_DEVICES}")]
    Devices(u32),
    /// Start out of bounds.
    #[error("the start must lie between 1971-01-01T00:00:00Z and 9999-12-31T23:59:59.999Z")]
    Start,
    /// A share that is none.
    #[error("the share of {what} must lie between 0 and 1, but is {share}")]
    Share {
        /// Of what.
        what: &'static str,
        /// As given.
        share: f64,
    },
    /// Disorder out of bounds.
    #[error("the disorder must be at most 30 days")]
    Disorder,
    /// Event time that does not advance, or in huge steps.
    #[error(
        "event time must advance by at most 30 days from one event to the next, and by more than zero"
    )]
    Spacing,
}

impl Config {
    /// Checks every bound; the first one broken is the error.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=MAX_DEVICES).contains(&self.devices) {
            return Err(ConfigError::Devices(self.devices));
        }
        if !(MIN_START_MS..=MAX_TIME_MS).contains(&self.start_ms) {
            return Err(ConfigError::Start);
        }
        for (what, share) in [
            ("anomalies", self.anomalies),
            ("late events", self.late),
            ("bad records", self.bad),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(ConfigError::Share { what, share });
            }
        }
        if self.disorder > MAX_DISORDER {
            return Err(ConfigError::Disorder);
        }
        let step = self.step_ms();
        if !(step > 0.0 && step <= MAX_STEP.as_secs_f64() * 1_000.0) {
            return Err(ConfigError::Spacing);
        }
        Ok(())
    }

    /// Event time between two events, in milliseconds.
    pub(crate) fn step_ms(&self) -> f64 {
        match self.spacing {
            Spacing::Interval(interval) => {
                interval.as_secs_f64() * 1_000.0 / f64::from(self.devices)
            }
            Spacing::PerSecond(rate) => 1_000.0 / rate,
        }
    }

    /// Event time that so many events cover.
    pub fn covered(&self, events: u64) -> Duration {
        Duration::try_from_secs_f64(self.step_ms() * events as f64 / 1_000.0)
            .unwrap_or(Duration::MAX)
    }
}
