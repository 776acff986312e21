//! Client configuration: our defaults, then the pipeline file's properties, then what the
//! exactly-once protocol depends on and no property may change.

use floodmark_pipeline::KafkaCluster;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

/// What a client is for; each role has defaults and properties of its own.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// Metadata, offsets and topic administration, without a group.
    Control,
    /// Reads and commits a consumer group's offsets, never joins it.
    GroupOffsets {
        /// `group.id`.
        group: String,
    },
    /// Fetches partitions assigned by us.
    Reader {
        /// Most kilobytes of fetched and not yet polled records.
        prefetch_kib: usize,
    },
    /// Produces in transactions.
    Transactional {
        /// `transactional.id`.
        id: String,
        /// `message.max.bytes`.
        max_message_bytes: usize,
    },
}

/// Records a reader keeps fetched ahead; with small records this limit is met before bytes are.
const PREFETCH_RECORDS: usize = 100_000;

/// How long the broker may hold a fetch when there is nothing; data ends the wait at once.
const FETCH_WAIT_MS: u32 = 100;

/// How long a partition is left alone when enough is fetched ahead. The client's own default of a
/// second empties the queue meanwhile.
const FETCH_PAUSE_MS: &str = "10";

/// How long a transaction may stay open before the broker aborts it. Ours last milliseconds; the
/// limit is what a client needs to ride out a broker restart.
pub(crate) const TRANSACTION_TIMEOUT_MS: u32 = 60_000;

/// After how long without traffic the producer closes a connection, well within a transaction's time.
/// A client that takes a broker for the group's coordinator which has left the cluster looks for the
/// new one when some connection changes (librdkafka #5511): this one does, before the transaction is
/// aborted.
const IDLE_CONNECTION_MS: &str = "30000";

/// How long the producer holds a record back to fill its batch.
const LINGER_MS: &str = "1";

/// Messages the producer's own queue takes; beyond it the sink waits.
const PRODUCER_QUEUE_MESSAGES: &str = "200000";

/// Builds the client configuration for `role`.
pub(crate) fn client_config(cluster: &KafkaCluster, role: &Role) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info);
    config
        .set("client.id", "floodmark")
        .set("socket.keepalive.enable", "true")
        .set("socket.nagle.disable", "true")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "2000");
    set_defaults(&mut config, role);
    for (name, value) in &cluster.properties {
        config.set(name.as_str(), value.expose());
    }
    config.set("bootstrap.servers", cluster.brokers.as_str());
    set_required(&mut config, role);
    config
}

fn set_defaults(config: &mut ClientConfig, role: &Role) {
    match role {
        Role::Control | Role::GroupOffsets { .. } => {
            config.set("isolation.level", "read_committed");
        }
        Role::Reader { prefetch_kib } => {
            config
                .set("isolation.level", "read_committed")
                .set("fetch.min.bytes", "1")
                .set("fetch.wait.max.ms", FETCH_WAIT_MS.to_string())
                .set("fetch.message.max.bytes", "1048576")
                .set("fetch.error.backoff.ms", "100")
                .set("fetch.queue.backoff.ms", FETCH_PAUSE_MS)
                .set("queued.min.messages", PREFETCH_RECORDS.to_string())
                .set("queued.max.messages.kbytes", prefetch_kib.to_string())
                .set("check.crcs", "true");
        }
        Role::Transactional {
            max_message_bytes, ..
        } => {
            config
                .set("compression.type", "lz4")
                .set("linger.ms", LINGER_MS)
                .set("connections.max.idle.ms", IDLE_CONNECTION_MS)
                .set("queue.buffering.max.messages", PRODUCER_QUEUE_MESSAGES)
                .set("queue.buffering.max.kbytes", "131072")
                .set("message.max.bytes", max_message_bytes.to_string())
                .set(
                    "batch.size",
                    (*max_message_bytes).min(1_000_000).to_string(),
                );
        }
    }
}

fn set_required(config: &mut ClientConfig, role: &Role) {
    match role {
        Role::Control => {
            config.remove("group.id");
        }
        Role::GroupOffsets { group } => {
            config
                .set("group.id", group.as_str())
                .set("enable.auto.commit", "false");
        }
        Role::Reader { .. } => {
            // Without a group there is none to be thrown out of, and nothing is committed behind
            // our back.
            config.remove("group.id");
            config.remove("group.instance.id");
            config
                .set("enable.auto.commit", "false")
                .set("auto.commit.enable", "false")
                .set("enable.partition.eof", "true")
                .set("auto.offset.reset", "error")
                .set("statistics.interval.ms", "1000");
        }
        Role::Transactional { id, .. } => {
            config
                .set("transactional.id", id.as_str())
                .set("enable.idempotence", "true")
                .set("acks", "all")
                .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string())
                // A record that outlives its transaction could be sent into the next one's epoch.
                .set("message.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use floodmark_pipeline::Secret;

    use super::*;

    fn cluster(properties: &[(&str, &str)]) -> KafkaCluster {
        KafkaCluster {
            brokers: "127.0.0.1:9092".to_owned(),
            properties: properties
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Secret::new(*value)))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn the_file_overrides_defaults_but_not_what_exactly_once_depends_on() {
        let cluster = cluster(&[
            ("linger.ms", "7"),
            ("transactional.id", "mine"),
            ("message.timeout.ms", "999999"),
        ]);
        let role = Role::Transactional {
            id: "floodmark-p-o".to_owned(),
            max_message_bytes: 1_000_000,
        };
        let config = client_config(&cluster, &role);
        assert_eq!(config.get("linger.ms"), Some("7"));
        assert_eq!(config.get("transactional.id"), Some("floodmark-p-o"));
        assert_eq!(config.get("message.timeout.ms"), Some("60000"));
    }

    #[test]
    fn a_reader_belongs_to_no_group() {
        let cluster = cluster(&[("group.id", "theirs"), ("auto.offset.reset", "earliest")]);
        let config = client_config(&cluster, &Role::Reader { prefetch_kib: 1024 });
        assert_eq!(config.get("group.id"), None);
        assert_eq!(config.get("auto.offset.reset"), Some("error"));
    }
}
