//! The servers that tests talk to, topics of a test's own, and what a plain consumer sees there.
//!
//! The engine's unit tests include this file too: there is one way to a cluster and to a bucket.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use floodmark_broker::Broker;
use floodmark_engine::kafka::admin::{TopicSpec, Topics};
use floodmark_pipeline::{KafkaCluster, Secret, Storage};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// Longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Brokers of a cluster to run on instead of an embedded broker.
const BROKERS: &str = "FLOODMARK_TEST_KAFKA";

/// The cluster under test: one embedded broker for all tests of this process, unless there is a real
/// one.
pub(crate) fn cluster() -> KafkaCluster {
    static EMBEDDED: OnceLock<Broker> = OnceLock::new();
    let brokers = std::env::var(BROKERS).unwrap_or_else(|_| {
        let start = || Broker::builder().start().expect("a broker starts");
        EMBEDDED.get_or_init(start).address().to_string()
    });
    KafkaCluster {
        brokers,
        properties: BTreeMap::new(),
    }
}

/// A bucket on a real S3 server, if `FLOODMARK_TEST_S3_ENDPOINT` names one (for example
/// `http://127.0.0.1:9000`); its name and keys come from `FLOODMARK_TEST_S3_…` too.
pub(crate) fn bucket() -> Option<(String, Storage)> {
    let given = |name: &str| std::env::var(format!("FLOODMARK_TEST_S3_{name}"));
    let or = |name: &str, default: &str| given(name).unwrap_or_else(|_| default.to_owned());
    let options = Storage {
        endpoint: Some(given("ENDPOINT").ok()?),
        access_key_id: Some(Secret::new(or("ACCESS_KEY_ID", "minioadmin"))),
        secret_access_key: Some(Secret::new(or("SECRET_ACCESS_KEY", "minioadmin"))),
        ..Storage::default()
    };
    Some((or("BUCKET", "floodmark-test"), options))
}

/// `PATIENCE` from now.
pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// A name no other test uses, on this run or an earlier one.
pub(crate) fn unique(stem: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("test-{stem}-{}-{count}", now.as_nanos())
}

/// Makes a topic with a name of its own.
pub(crate) fn topic(
    cluster: &KafkaCluster,
    stem: &str,
    partitions: i32,
    config: &[(&str, &str)],
) -> String {
    let name = unique(stem);
    create(cluster, &[&name], partitions, config);
    name
}

/// Makes topics.
pub(crate) fn create(
    cluster: &KafkaCluster,
    names: &[&str],
    partitions: i32,
    config: &[(&str, &str)],
) {
    let text = |text: &&str| (*text).to_owned();
    let topics = Topics::new(cluster).expect("a client");
    let until = deadline();
    for name in names {
        let spec = TopicSpec {
            name: text(name),
            partitions,
            config: config.iter().map(|(k, v)| (text(k), text(v))).collect(),
        };
        topics.create(&spec, until).expect("the topic is made");
    }
}

/// A record as a `read_committed` consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Key.
    pub(crate) key: Option<Vec<u8>>,
    /// Value.
    pub(crate) value: Option<Vec<u8>>,
    /// Headers.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

/// Everything a `read_committed` consumer sees in a topic now.
pub(crate) fn read_committed(cluster: &KafkaCluster, topic: &str) -> Vec<Seen> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &cluster.brokers)
        .set("group.id", "floodmark-test")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("fetch.message.max.bytes", "20000000")
        // The end of a topic is to be told at once.
        .set("fetch.wait.max.ms", "10")
        .create()
        .expect("a consumer");
    // Asked by the same client, which would find the partitions' leaders a second later by itself.
    let metadata = consumer
        .fetch_metadata(Some(topic), PATIENCE)
        .expect("metadata");
    let partitions = metadata.topics()[0].partitions().len() as i32;
    assert!(partitions > 0, "there is no topic {topic}");
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)
            .expect("a list");
    }
    consumer.assign(&list).expect("assigned");
    let (mut seen, mut ended) = (Vec::new(), 0);
    let until = deadline();
    while ended < partitions {
        assert!(Instant::now() < until, "the topic does not end");
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => seen.push(Seen {
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: message.headers().map(headers).unwrap_or_default(),
            }),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    seen
}

fn headers(headers: &impl Headers) -> Vec<(String, Vec<u8>)> {
    let pair = |h: rdkafka::message::Header<'_, &[u8]>| {
        (h.key.to_owned(), h.value.unwrap_or_default().to_vec())
    };
    headers.iter().map(pair).collect()
}
