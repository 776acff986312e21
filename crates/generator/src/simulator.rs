//! The simulator: one event after another, each a function of its number.

use crate::bad::BadKind;
use crate::config::{Config, ConfigError};
use crate::device::Devices;
use crate::draw::{Chance, Stream, below, mix};
use crate::record::RecordWriter;
use crate::schedule::{Schedule, Turn};

/// A late event lies at least this far, and the disorder, behind the newest event before it: past a
/// one-minute window and any sensible delay.
const LATE_MIN_MS: i64 = 120_000;
/// And at most so much further.
const LATE_SPREAD_MS: u64 = 480_000;
/// No event among the first so many is late: there must be something to be late against, in each
/// partition that the events end up in.
const LATE_FROM: u64 = 100;

/// What is true of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventInfo {
    /// The device's index, from 0.
    pub device: u32,
    /// Event time, milliseconds since 1970. Of a bad record: what it would have been.
    pub event_time_ms: i64,
    /// Whether a decoder must accept the record.
    pub kind: Kind,
    /// Whether the event time is far behind; never of a bad record.
    pub late: bool,
    /// Whether the printed reading is above a limit; never of a bad record.
    pub anomalous: bool,
}

/// Whether a decoder must accept a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It must.
    Good,
    /// It must not.
    Bad(BadKind),
}

/// Simulates the devices of a [`Config`].
#[derive(Debug, Clone)]
pub struct Simulator {
    schedule: Schedule,
    devices: Devices,
    writer: RecordWriter,
    fates: Fates,
    lines: bool,
    /// Newest event time of good records in time.
    newest_ms: i64,
}

/// What befalls an event on its way, by its number.
#[derive(Debug, Clone)]
struct Fates {
    draws: Stream,
    bad: Chance,
    late: Chance,
    disorder_ms: u64,
}

/// See [`Fates::of`].
enum Fate {
    Bad,
    Late,
    /// In time, this many milliseconds behind its turn.
    InTime(i64),
}

impl Fates {
    #[inline]
    fn of(&self, event: u64) -> Fate {
        let draw = self.draws.at(event);
        if self.bad.hit(draw) {
            Fate::Bad
        } else if self.late.hit(draw >> 32) && event >= LATE_FROM {
            Fate::Late
        } else {
            Fate::InTime(below(mix(draw), self.disorder_ms + 1) as i64)
        }
    }

    /// How far behind the newest event a late one is.
    fn lateness_ms(&self, event: u64) -> i64 {
        let draw = mix(!self.draws.at(event));
        self.disorder_ms as i64 + LATE_MIN_MS + below(draw, LATE_SPREAD_MS) as i64
    }
}

impl Simulator {
    /// A simulator at its first event.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            schedule: Schedule::new(config),
            devices: Devices::new(config.seed, config.anomalies),
            writer: RecordWriter::new(config.devices),
            fates: Fates {
                draws: Stream::new(config.seed, 3),
                bad: Chance::new(config.bad),
                late: Chance::new(config.late),
                // Within bounds by validation.
                disorder_ms: config.disorder.as_millis() as u64,
            },
            lines: config.lines,
            newest_ms: config.start_ms,
        })
    }

    /// Appends the next event to `out`: one JSON value without a line's end.
    #[inline]
    pub fn next_event(&mut self, out: &mut Vec<u8>) -> EventInfo {
        let turn = self.schedule.next_turn();
        let fate = self.fates.of(turn.event);
        let time_ms = match fate {
            Fate::Bad => turn.time_ms,
            Fate::Late => self.newest_ms - self.fates.lateness_ms(turn.event),
            Fate::InTime(behind) => {
                let time_ms = turn.time_ms - behind;
                self.newest_ms = self.newest_ms.max(time_ms);
                time_ms
            }
        };
        let Turn {
            event,
            device,
            round,
            ..
        } = turn;
        let reading = self.devices.read(device, round, event, time_ms);
        self.writer.write(device, time_ms, reading);
        let mut info = EventInfo {
            device,
            event_time_ms: time_ms,
            kind: Kind::Good,
            late: matches!(fate, Fate::Late),
            anomalous: reading.anomalous(),
        };
        if matches!(fate, Fate::Bad) {
            let draw = mix(self.fates.draws.at(event));
            let kind = BadKind::pick(draw, self.lines);
            kind.spoil(&self.writer, mix(draw), out);
            info.kind = Kind::Bad(kind);
            info.anomalous = false;
        } else {
            out.extend_from_slice(self.writer.record());
        }
        info
    }

    /// The id of the device whose event came last: the key of its message, also of a bad one.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.writer.key()
    }

    /// The number of the next event, from 0.
    pub fn position(&self) -> u64 {
        self.schedule.position()
    }

    /// Whether one record is one line: see [`Config::lines`].
    pub fn is_lines(&self) -> bool {
        self.lines
    }

    /// Event time of the next event, disorder and lateness aside, in milliseconds since 1970.
    pub fn event_time_ms(&self) -> i64 {
        self.schedule.time_ms(self.schedule.position())
    }

    /// Leaves out so many events: what follows is what would have followed them.
    ///
    /// Looks back over as many events as it takes to find the newest one, which with disorder are
    /// those of a small part of it, not over all that are skipped.
    pub fn skip(&mut self, events: u64) {
        let position = self.schedule.position().saturating_add(events);
        for event in (self.schedule.position()..position).rev() {
            let time_ms = self.schedule.time_ms(event);
            if time_ms <= self.newest_ms {
                // Nor can any event before this one be newer.
                break;
            }
            if let Fate::InTime(behind) = self.fates.of(event) {
                self.newest_ms = self.newest_ms.max(time_ms - behind);
            }
        }
        self.schedule.seek(position);
    }
}
