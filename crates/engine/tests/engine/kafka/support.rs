//! A source over a topic, and producers.

use std::time::Duration;

use floodmark_pipeline::{KafkaCluster, KafkaSource};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::model::Record;
use crate::servers::PATIENCE;

/// A source over a topic.
pub(crate) fn source(cluster: &KafkaCluster, topic: &str) -> KafkaSource {
    KafkaSource {
        cluster: cluster.clone(),
        topic: topic.to_owned(),
        partitions: 3,
        group: format!("{topic}-group"),
    }
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
    let record = |(partition, value)| Record {
        partition,
        key: None,
        value: Some(value),
    };
    produce_records(cluster, topic, values.map(record));
}

/// Produces records and waits until the cluster has them.
pub(crate) fn produce_records(
    cluster: &KafkaCluster,
    topic: &str,
    records: impl Iterator<Item = Record>,
) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &cluster.brokers)
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .set("message.max.bytes", "20000000")
        .create()
        .expect("a producer");
    for Record {
        partition,
        key,
        value,
    } in records
    {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
        record.key = key.as_deref();
        record.payload = value.as_deref();
        while let Err((error, back)) = producer.send(record) {
            assert!(matches!(error, KafkaError::MessageProduction(_)), "{error}");
            producer.poll(Duration::from_millis(10));
            record = back;
        }
    }
    producer.flush(PATIENCE).expect("everything is delivered");
}
