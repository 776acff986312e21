//! What a device measures: a pure function of the device, its reading's number and the time.
//!
//! Quantities are integers in the unit of their last printed digit, so that the truth about a reading
//! and its text cannot differ, and no machine's floating point can change a byte.

use crate::draw::{Chance, Stream, bell, below, mix};

/// Readings in the faulty state.
const FAULT_READINGS: u64 = 10;
/// Readings over which a fault builds up, where the share of anomalies leaves room for it.
const RAMP_READINGS: u64 = 30;

/// The limits, in the units of [`Reading`].
const TEMPERATURE_LIMIT: i32 = 8_500;
const VIBRATION_LIMIT: i32 = 500;

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Hundredths of a degree Celsius, two digits before the point.
    pub temperature: i32,
    /// Thousandths of g, one digit before the point.
    pub vibration: i32,
    /// What the device says of itself.
    pub status: Status,
}

impl Reading {
    /// Whether a limit is exceeded.
    #[inline]
    pub(crate) fn anomalous(self) -> bool {
        self.temperature > TEMPERATURE_LIMIT || self.vibration > VIBRATION_LIMIT
    }
}

/// What a device says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    Warn,
    Fault,
}

impl Status {
    pub(crate) const ALL: [Self; 3] = [Self::Ok, Self::Warn, Self::Fault];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fault => "FAULT",
        }
    }
}

/// How far a fault has come: nothing, building up, or there.
#[derive(Debug, Clone, Copy)]
enum Health {
    Well,
    /// Share of the way to the limit, in 1/1024.
    Building(i32, FaultKind),
    /// Severity, in 1/1024.
    Faulty(i32, FaultKind),
}

#[derive(Debug, Clone, Copy)]
enum FaultKind {
    Overheating,
    Bearing,
    Both,
}

/// All devices of a simulation.
///
/// A device's readings fall into cycles of equal length, each device's shifted by a phase of its own.
/// A cycle holds at most one fault, at a place drawn for it; the cycle's length and the chance of a
/// fault give the share of anomalies that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Devices {
    traits: Stream,
    noise: Stream,
    /// Readings of a cycle; 0 if nothing ever fails.
    cycle: u64,
    ramp: u64,
    fault: Chance,
    /// `(round, round / cycle, round % cycle)` of the last round asked for.
    round: (u64, u64, u64),
}

impl Devices {
    /// Devices of which this share of readings, between 0 and 1, is anomalous.
    pub(crate) fn new(seed: u64, anomalies: f64) -> Self {
        let cycle = if anomalies > 0.0 {
            // A share so small that the cycle would not fit is as good as none.
            ((FAULT_READINGS as f64 / anomalies).min(1e15) as u64).max(FAULT_READINGS)
        } else {
            0
        };
        Self {
            traits: Stream::new(seed, 1),
            noise: Stream::new(seed, 2),
            cycle,
            ramp: RAMP_READINGS.min(cycle.saturating_sub(FAULT_READINGS)),
            fault: Chance::new((anomalies * cycle as f64 / FAULT_READINGS as f64).min(1.0)),
            round: (0, 0, 0),
        }
    }

    /// What a device measures in a round, as event number `event`.
    #[inline]
    pub(crate) fn read(&mut self, device: u32, round: u64, event: u64, time_ms: i64) -> Reading {
        let traits = self.traits.at(u64::from(device));
        let noise = self.noise.at(event);
        let (temperature, vibration) = normal(traits, noise, time_ms);
        match self.health(traits, round) {
            Health::Well => Reading {
                temperature,
                vibration,
                status: Status::Ok,
            },
            Health::Building(progress, kind) => building(temperature, vibration, progress, kind),
            Health::Faulty(severity, kind) => faulty(temperature, vibration, severity, kind, noise),
        }
    }

    #[inline]
    fn health(&mut self, traits: u64, round: u64) -> Health {
        if self.cycle == 0 {
            return Health::Well;
        }
        if self.round.0 != round {
            self.round = (round, round / self.cycle, round % self.cycle);
        }
        let (_, mut cycle, mut place) = self.round;
        place += below(mix(traits), self.cycle);
        if place >= self.cycle {
            place -= self.cycle;
            cycle += 1;
        }
        let fate = mix(traits ^ mix(cycle));
        let begin = below(fate, self.cycle - self.ramp - FAULT_READINGS + 1);
        if place < begin || place >= begin + self.ramp + FAULT_READINGS || !self.fault.hit(fate) {
            return Health::Well;
        }
        let nature = mix(fate);
        let kind = match nature & 3 {
            0 | 1 => FaultKind::Overheating,
            2 => FaultKind::Bearing,
            _ => FaultKind::Both,
        };
        let passed = place - begin;
        if passed < self.ramp {
            // Below 1024: the last reading of the ramp still lies under the limit.
            Health::Building((passed * 1_024 / self.ramp) as i32, kind)
        } else {
            Health::Faulty(((nature >> 32) & 1_023) as i32, kind)
        }
    }
}

/// Temperature and vibration of a device that is well: 41 to 75 degrees, 0.019 to 0.241 g.
#[inline]
fn normal(traits: u64, noise: u64, time_ms: i64) -> (i32, i32) {
    let bits = |shift: u32, count: u32| ((traits >> shift) & ((1 << count) - 1)) as i32;
    // Not every device warms up at the same hour.
    let shift = (traits >> 28) as u32 & 0x0fff_ffff;
    // Turns since 1970, as a fraction of 2^32: one a day, and one in 18 to 60 minutes.
    let day = (time_ms.cast_unsigned().wrapping_mul(u64::MAX / 86_400_000) >> 32) as u32;
    let load = (time_ms as u32).wrapping_mul(1_200 + (traits >> 20 & 0x7ff) as u32);
    let day = wave(day.wrapping_add(shift));
    let load = wave(load);
    let temperature = 5_200
        + bits(0, 10)
        + day * (300 + bits(10, 8)) / 1_024
        + load * 150 / 1_024
        + bell(noise) * 40 / 148;
    let vibration = 80 + bits(32, 6) + load * 20 / 1_024 + bell(noise >> 32) * 12 / 148;
    (temperature, vibration)
}

/// A smooth wave of one turn per 2^32, from -1024 to 1024: two parabolas, close to a sine.
#[inline]
fn wave(turn: u32) -> i32 {
    let half = i64::from((turn >> 15) & 0xffff);
    let arch = ((half * (0x1_0000 - half)) >> 20) as i32;
    if turn >> 31 == 0 { arch } else { -arch }
}

#[inline]
fn building(temperature: i32, vibration: i32, progress: i32, kind: FaultKind) -> Reading {
    let rise = |from: i32, to: i32| from + (((to - from) * progress) >> 10) * progress / 1_024;
    let (temperature, vibration) = match kind {
        FaultKind::Overheating => (rise(temperature, 8_470), rise(vibration, vibration + 80)),
        FaultKind::Bearing => (rise(temperature, temperature + 500), rise(vibration, 490)),
        FaultKind::Both => (rise(temperature, 8_470), rise(vibration, 490)),
    };
    Reading {
        temperature,
        vibration,
        status: if progress > 512 {
            Status::Warn
        } else {
            Status::Ok
        },
    }
}

#[inline]
fn faulty(temperature: i32, vibration: i32, severity: i32, kind: FaultKind, noise: u64) -> Reading {
    let hot = 8_650 + severity + bell(noise) * 40 / 148;
    let shaking = 560 + severity * 600 / 1_024 + bell(noise >> 32) * 12 / 148;
    let (temperature, vibration) = match kind {
        FaultKind::Overheating => (hot, vibration + 80),
        FaultKind::Bearing => (temperature + 500, shaking),
        FaultKind::Both => (hot, shaking),
    };
    Reading {
        temperature,
        vibration,
        status: Status::Fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wave_is_smooth_and_bounded() {
        let mut last = wave(0);
        for turn in (0..=u32::MAX).step_by(1 << 16) {
            let now = wave(turn);
            assert!(
                now.abs() <= 1_024 && (now - last).abs() <= 2,
                "{turn}: {last} {now}"
            );
            last = now;
        }
    }

    #[test]
    fn a_device_that_is_well_stays_below_the_limits_and_prints_in_its_width() {
        let mut devices = Devices::new(3, 0.0);
        for event in 0..200_000_u64 {
            let time_ms = 1_735_689_600_000 + event as i64 * 7_919;
            let reading = devices.read(event as u32 % 1_000, event / 1_000, event, time_ms);
            assert!((1_000..8_000).contains(&reading.temperature), "{reading:?}");
            assert!((0..400).contains(&reading.vibration), "{reading:?}");
            assert_eq!(reading.status, Status::Ok);
        }
    }

    #[test]
    fn a_reading_is_anomalous_exactly_when_the_device_is_faulty() {
        let mut devices = Devices::new(5, 0.3);
        for event in 0..200_000_u64 {
            let time_ms = 1_735_689_600_000 + event as i64 * 1_000;
            let reading = devices.read(event as u32 % 100, event / 100, event, time_ms);
            assert_eq!(
                reading.anomalous(),
                reading.status == Status::Fault,
                "{reading:?}"
            );
            assert!(
                (1_000..10_000).contains(&reading.temperature),
                "{reading:?}"
            );
            assert!((0..2_000).contains(&reading.vibration), "{reading:?}");
        }
    }

    #[test]
    fn a_fault_builds_up_before_it_crosses_a_limit() {
        let mut devices = Devices::new(9, 0.01);
        let readings: Vec<Reading> = (0..20_000)
            .map(|round| devices.read(4, round, round, 1_735_689_600_000 + round as i64))
            .collect();
        let mut faults = 0;
        for at in 40..readings.len() {
            if readings[at].anomalous() && !readings[at - 1].anomalous() {
                faults += 1;
                assert_eq!(readings[at - 1].status, Status::Warn);
                let (early, before) = (readings[at - 30], readings[at - 1]);
                assert!(
                    before.temperature > early.temperature + 200
                        || before.vibration > early.vibration + 150,
                    "{early:?} {before:?}"
                );
            }
        }
        assert!((15..=25).contains(&faults), "{faults}");
    }
}
