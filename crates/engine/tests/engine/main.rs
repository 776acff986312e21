//! The whole engine, held against a plain model.
//!
//! - `memory`: over stand-ins for the world. Everything between source and sink is the real thing;
//!   only the topic and the tables are in memory, so that a case takes milliseconds and thousands of
//!   interleavings are seen.
//! - `simulation`: checkpoints, sinks and recovery alone, in virtual time, under hostile schedules.
//! - `main_job`: the shipped pipeline file as the binary runs it: topics over the real client, files in
//!   a directory or bucket, read back as plain readers do.
//! - `kafka`: the Kafka source and sinks by themselves.
//!
//! Topics stand on an embedded broker of this process, or on the cluster that `FLOODMARK_TEST_KAFKA`
//! names; files in a temporary directory, or in the bucket that `FLOODMARK_TEST_S3_…` name.

mod events;
mod kafka;
mod main_job;
mod memory;
mod model;
mod mortal;
mod servers;
mod simulation;
