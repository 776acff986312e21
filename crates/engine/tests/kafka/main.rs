//! The Kafka source and sinks against a real cluster, named by `FLOODMARK_TEST_KAFKA`. Without it each
//! test says that it was skipped.

mod ahead;
mod measure;
mod reader;
mod support;
