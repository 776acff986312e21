//! Topics of a test's own, a producer and a `read_committed` consumer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use floodmark_engine::kafka::admin::{TopicSpec, Topics};
use floodmark_pipeline::{KafkaCluster, KafkaSource};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// Longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The cluster under test; `None` skips the test that asks.
pub(crate) fn cluster() -> Option<KafkaCluster> {
    let Ok(brokers) = std::env::var("FLOODMARK_TEST_KAFKA") else {
        eprintln!("skipped: set FLOODMARK_TEST_KAFKA to the brokers of a real cluster");
        return None;
    };
    Some(KafkaCluster {
        brokers,
        properties: BTreeMap::new(),
    })
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
    let spec = TopicSpec {
        name: name.clone(),
        partitions,
        config: config
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    };
    let topics = Topics::new(cluster).expect("a client");
    topics.create(&spec, deadline()).expect("the topic is made");
    let until = deadline();
    while topics.partitions(&name, until).expect("metadata").is_none() {
        assert!(Instant::now() < until, "topic {name} does not show up");
    }
    name
}

/// A source over a topic.
pub(crate) fn source(cluster: &KafkaCluster, topic: &str) -> KafkaSource {
    KafkaSource {
        cluster: cluster.clone(),
        topic: topic.to_owned(),
        partitions: 3,
        group: format!("{topic}-group"),
    }
}

/// `PATIENCE` from now.
pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Produces values `from..to` as decimal text, round robin over three partitions.
pub(crate) fn produce(cluster: &KafkaCluster, topic: &str, from: usize, to: usize) {
    produce_values(
        cluster,
        topic,
        (from..to).map(|i| ((i % 3) as i32, i.to_string().into_bytes())),
    );
}

/// Produces values to the partitions beside them.
pub(crate) fn produce_values(
    cluster: &KafkaCluster,
    topic: &str,
    values: impl Iterator<Item = (i32, Vec<u8>)>,
) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &cluster.brokers)
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .set("message.max.bytes", "20000000")
        .create()
        .expect("a producer");
    for (partition, value) in values {
        let mut record = BaseRecord::<(), [u8]>::to(topic)
            .partition(partition)
            .payload(&value);
        while let Err((error, back)) = producer.send(record) {
            assert!(matches!(error, KafkaError::MessageProduction(_)), "{error}");
            producer.poll(Duration::from_millis(10));
            record = back;
        }
    }
    producer.flush(PATIENCE).expect("everything is delivered");
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
    use rdkafka::message::Headers;
    let partitions = Topics::new(cluster)
        .and_then(|topics| topics.partitions(topic, deadline()))
        .expect("metadata")
        .expect("the topic exists") as i32;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &cluster.brokers)
        .set("group.id", "floodmark-test")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("fetch.message.max.bytes", "20000000")
        .create()
        .expect("a consumer");
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
                headers: message
                    .headers()
                    .map(|headers| {
                        headers
                            .iter()
                            .map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec()))
                            .collect()
                    })
                    .unwrap_or_default(),
            }),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    seen
}
