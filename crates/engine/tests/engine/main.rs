//! The whole engine over stand-ins for the world, held against a plain model.
//!
//! Everything between source and sink is the real thing: threads, barriers, checkpoints in a store.
//! Only the topic and the tables are in memory, so that a case takes milliseconds and thousands of
//! interleavings are seen.

mod aggregates;
mod main_job;
mod model;
mod recovery;
mod rig;
