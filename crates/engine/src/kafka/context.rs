//! The callbacks of a client: log lines go to `tracing`, and what the client last complained about
//! is remembered, because the call that fails afterwards only says "timed out".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::topic_partition_list::TopicPartitionList;
use serde::Deserialize;

use super::complaints::{code_of, listener_hint, refusal_in};

/// What a client has told since it was made. Shared between the client's callbacks and its owner.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    last_error: Mutex<Option<(RDKafkaErrorCode, String)>>,
    delivery_error: Mutex<Option<RDKafkaErrorCode>>,
    connected: AtomicBool,
    commit_failures: AtomicU64,
}

impl EventLog {
    /// The last error the client reported by itself, if any.
    pub(crate) fn last_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        lock(&self.last_error).clone()
    }

    /// The first delivery that failed since the last call.
    pub(crate) fn take_delivery_error(&self) -> Option<RDKafkaErrorCode> {
        lock(&self.delivery_error).take()
    }

    /// Whether every broker that leads one of the client's partitions is connected.
    pub(crate) fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Group commits that failed.
    pub(crate) fn commit_failures(&self) -> u64 {
        self.commit_failures.load(Ordering::Relaxed)
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    pub(crate) fn count_commit_failure(&self) {
        self.commit_failures.fetch_add(1, Ordering::Relaxed);
    }

    fn record_error(&self, code: RDKafkaErrorCode, reason: &str) {
        if code == RDKafkaErrorCode::AllBrokersDown {
            self.set_connected(false);
        }
        let code = code_of(code, reason);
        let mut last = lock(&self.last_error);
        // "all brokers are down" follows the error that says why; keep the why.
        if code != RDKafkaErrorCode::AllBrokersDown || last.is_none() {
            *last = Some((code, reason.to_owned()));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The context given to every client of ours.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientEvents {
    log: Arc<EventLog>,
}

impl ClientEvents {
    /// The record of what the client tells.
    pub(crate) fn log(&self) -> &Arc<EventLog> {
        &self.log
    }
}

impl ClientContext for ClientEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                if let Some(code) = refusal_in(message) {
                    self.log.record_error(code, message);
                }
                tracing::warn!(target: "floodmark::kafka", facility, "{message}");
            }
            _ => {
                // The client tells of a connection that was lost in no other way.
                if listener_hint(message).is_some() {
                    self.log
                        .record_error(RDKafkaErrorCode::BrokerTransportFailure, message);
                }
                tracing::debug!(target: "floodmark::kafka", facility, "{message}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        self.log.record_error(code, reason);
        tracing::debug!(target: "floodmark::kafka", %error, reason, "client error");
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let Ok(stats) = serde_json::from_slice::<Stats>(statistics) {
            self.log.set_connected(stats.leaders_connected());
        }
    }
}

impl ConsumerContext for ClientEvents {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            self.log.count_commit_failure();
            tracing::debug!(target: "floodmark::kafka", %error, "group offsets not committed");
        }
    }
}

impl ProducerContext for ClientEvents {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            // A purge is our own doing, when a transaction is aborted.
            if !matches!(
                code,
                RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight
            ) {
                lock(&self.log.delivery_error).get_or_insert(code);
            }
        }
    }
}

/// The part of the client's statistics that tells whether its partitions can deliver.
#[derive(Debug, Deserialize)]
struct Stats {
    brokers: BTreeMap<String, BrokerStats>,
    topics: BTreeMap<String, TopicStats>,
}

#[derive(Debug, Deserialize)]
struct BrokerStats {
    nodeid: i64,
    state: String,
}

#[derive(Debug, Deserialize)]
struct TopicStats {
    partitions: BTreeMap<String, PartitionStats>,
}

#[derive(Debug, Deserialize)]
struct PartitionStats {
    desired: bool,
    leader: i64,
}

impl Stats {
    fn leaders_connected(&self) -> bool {
        let up: BTreeSet<i64> = self
            .brokers
            .values()
            .filter(|broker| broker.state == "UP")
            .map(|broker| broker.nodeid)
            .collect();
        self.topics
            .values()
            .flat_map(|topic| topic.partitions.values())
            .filter(|partition| partition.desired)
            .all(|partition| up.contains(&partition.leader))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(state: &str, leader: i64) -> Vec<u8> {
        format!(
            r#"{{"name":"x","brokers":{{"b":{{"nodeid":1,"state":"{state}","tx":4}}}},
                "topics":{{"t":{{"partitions":{{"0":{{"desired":true,"leader":{leader}}},
                "-1":{{"desired":false,"leader":-1}}}}}}}}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn a_client_is_connected_while_the_leaders_of_its_partitions_are_up() {
        let events = ClientEvents::default();
        events.stats_raw(&stats("UP", 1));
        assert!(events.log().connected());
        events.stats_raw(&stats("CONNECT", 1));
        assert!(!events.log().connected());
        events.stats_raw(&stats("UP", -1));
        assert!(!events.log().connected());
    }

    #[test]
    fn the_reason_is_kept_when_all_brokers_are_down_follows() {
        let events = ClientEvents::default();
        events.error(
            KafkaError::Global(RDKafkaErrorCode::Authentication),
            "invalid credentials",
        );
        events.error(
            KafkaError::Global(RDKafkaErrorCode::AllBrokersDown),
            "1/1 down",
        );
        let (code, reason) = events.log().last_error().expect("an error");
        assert_eq!(code, RDKafkaErrorCode::Authentication);
        assert_eq!(reason, "invalid credentials");
    }
}
