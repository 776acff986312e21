//! What a client may rely on: one suite for the embedded broker and for Apache Kafka.
//!
//! Apache Kafka is the specification. A test belongs here once it passes there; the embedded broker
//! then has to pass it unchanged:
//!
//! ```text
//! cargo test -p floodmark-broker --test conformance                              # the embedded broker
//! FLOODMARK_TEST_KAFKA=127.0.0.1:9092 cargo test -p floodmark-broker --test conformance # a cluster
//! ```
//!
//! The cluster must be a single node that does not create topics by itself and that makes topics of 3
//! partitions by default, as `scripts/services start kafka` sets it up. Every test has topics, groups
//! and transactional ids of its own, so tests run in parallel, and again and again on the same cluster.
//!
//! Most tests speak through librdkafka. Where a client library would hide what is asked about (a batch
//! sent twice, the wait of a single fetch, an error that the library retries), they speak the protocol
//! themselves ([`wire`]). What needs the broker's process or its directory is in [`restart`] and runs
//! on the embedded broker only.

mod admin;
mod codecs;
mod groups;
mod idempotence;
mod limits;
mod members;
mod produce_fetch;
mod proxy;
mod restart;
mod support;
mod time;
mod transaction_protocol;
mod transactions;
mod wire;
