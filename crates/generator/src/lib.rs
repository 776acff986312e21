//! A simulator of device telemetry: readings in, nothing; JSON events out.
//!
//! Motors on several sites and lines report temperature and vibration at a fixed interval. Readings
//! follow the day, wander with load and carry sensor noise; now and then a device develops a fault,
//! which builds up over many readings before it crosses the alert thresholds. On top of that come the
//! troubles that a stream processor must survive: events out of order, events far too late, and
//! records that no decoder may accept.
//!
//! Promises:
//! - **Deterministic**: the same [`Config`] gives the same bytes, on every machine. Every value is a
//!   pure function of the seed and the event's number, so [`Simulator::skip`] need not generate what it
//!   skips.
//! - **The truth is known**: what [`EventInfo`] says of an event holds for the bytes as printed, and a
//!   [`Tally`] of it is the right answer for whoever checks a pipeline.
//! - **Cheap**: an event is a patched template; nothing is allocated but the caller's buffer.
//!
//! The crate does no I/O and never reads a clock.
//!
//! ```
//! use floodmark_generator::{Config, Simulator};
//!
//! let mut simulator = Simulator::new(&Config { devices: 10, ..Config::default() })?;
//! let mut event = Vec::new();
//! let info = simulator.next_event(&mut event);
//! assert_eq!(simulator.key(), b"MTR-00010");
//! assert!(!info.late && event.starts_with(b"{\"device_id\":\"MTR-00010\",\"ts\":"));
//! # Ok::<(), floodmark_generator::ConfigError>(())
//! ```
//!
//! In the order in which an event comes about: [`config`] says what is asked for, `schedule` whose turn
//! it is and when, `device` what the device measures, `record` how that is written, `bad` how it is
//! spoilt, [`simulator`] ties them together, [`tally`] counts and [`batch`] collects.

pub mod batch;
pub mod config;
pub mod simulator;
pub mod tally;

mod bad;
mod device;
mod draw;
mod record;
mod schedule;
#[cfg(test)]
mod tests;

pub use bad::BadKind;
pub use batch::Batch;
pub use config::{Config, ConfigError, Spacing};
pub use simulator::{EventInfo, Kind, Simulator};
pub use tally::Tally;

/// A reading above this temperature, in degrees Celsius, is anomalous.
pub const TEMPERATURE_LIMIT_C: f64 = 85.0;

/// A reading above this vibration, in g, is anomalous.
pub const VIBRATION_LIMIT_G: f64 = 0.5;
