//! Stand-ins for the world, and what every implementation of a seam must pass.
//!
//! In-memory sources, sinks and clocks for tests of the engine, from inside and outside the crate;
//! nothing here runs in production. They keep the contracts of [`crate::source`] and
//! [`crate::sink`] to the letter, and refuse a caller who does not.

pub mod clock;
pub mod sink;
pub mod source;
pub mod source_promises;

pub use clock::ManualClock;
pub use sink::{MemorySink, MemoryTable};
pub use source::{MemoryConnector, MemorySource};
