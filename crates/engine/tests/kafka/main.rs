//! The Kafka source and sinks against a real cluster, named by `KAFKA_BROKERS`. Without it each
//! test says that it was skipped.

mod ahead;
mod reader;
mod support;
