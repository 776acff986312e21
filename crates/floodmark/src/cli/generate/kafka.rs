//! Events into a Kafka topic: every one delivered, in order per device, or an error.
//!
//! ```text
//! batch ─► room in the queue? ─► produce_batch ─► librdkafka: partition by key, lz4, idempotent sends
//!              ▲ waits while full                    └─► failed deliveries ─► Failures ─► exit code 1
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use floodmark_engine::kafka::admin::Topics;
use floodmark_engine::kafka::create_failed;
use floodmark_generator::Batch;
use floodmark_pipeline::KafkaCluster;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::KafkaError;
use rdkafka::producer::{
    BaseProducer, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext,
};

use super::produce_batch::{BatchProducer, Enqueued, Entering};

/// Time to find the brokers and the topic.
const METADATA_TIMEOUT: Duration = Duration::from_secs(6);
/// Between two looks at whether there is room in the queue again.
const ROOM_WAIT: Duration = Duration::from_millis(1);
/// Between two looks at what failed, at the end.
const FLUSH_WAIT: Duration = Duration::from_millis(200);
/// Records that wait for delivery, at most, unless the user says otherwise. The client walks over
/// each of them several times: few enough to stay in the processor's cache cost a third less than many.
const QUEUE_RECORDS: i32 = 20_000;
/// Records of one partition sent together, at most.
const SEND_RECORDS: i32 = 5_000;
const QUEUE_PROPERTY: &str = "queue.buffering.max.messages";
/// Below this rate a record is sent at once rather than with those after it.
const PROMPT_RATE: f64 = 10_000.0;

/// A topic that takes events.
pub(in crate::cli) struct KafkaTarget {
    producer: BatchProducer<Failures>,
    topic: String,
    queue_records: i32,
}

impl fmt::Debug for KafkaTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut target = f.debug_struct("KafkaTarget");
        target.field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// What the client could not deliver.
#[derive(Debug, Default)]
pub(super) struct Failures {
    records: AtomicU64,
    /// The first failed delivery, or what made the client give up for good.
    first: Mutex<Option<String>>,
    /// What the client complained about last: often why something else failed.
    complaint: Mutex<Option<String>>,
}

impl Failures {
    fn complaint(&self) -> String {
        let complaint = self.complaint.lock();
        let complaint = complaint.ok().and_then(|complaint| complaint.clone());
        complaint.map_or_else(String::new, |text| format!(": {text}"))
    }

    /// An error if anything failed.
    fn check(&self, topic: &str) -> anyhow::Result<()> {
        let first = self.first.lock();
        let Some(first) = first.ok().and_then(|first| first.clone()) else {
            return Ok(());
        };
        match self.records.load(Ordering::Relaxed) {
            0 => Err(anyhow!("cannot write to topic '{topic}': {first}")),
            records => Err(anyhow!(
                "{records} events or more could not be delivered to topic '{topic}': {first}{}",
                self.complaint()
            )),
        }
    }

    fn note(&self, message: String) {
        if let Ok(mut first) = self.first.lock() {
            first.get_or_insert(message);
        }
    }
}

impl ClientContext for Failures {
    fn error(&self, error: KafkaError, reason: &str) {
        if let Ok(mut complaint) = self.complaint.lock() {
            *complaint = Some(reason.to_owned());
        }
        tracing::debug!(%error, reason, "kafka client");
    }
}

impl ProducerContext<NoCustomPartitioner> for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.records.fetch_add(1, Ordering::Relaxed);
            self.note(error.to_string());
        }
    }
}

impl KafkaTarget {
    /// Connects, and makes sure that the topic exists. `rate` is that of events per second, if limited.
    pub(in crate::cli) fn open(
        cluster: &KafkaCluster,
        topic: &str,
        rate: Option<f64>,
    ) -> anyhow::Result<Self> {
        require_topic(cluster, topic)?;
        let config = client_config(cluster, rate);
        let producer: BaseProducer<Failures> =
            BaseProducer::from_config_and_context(&config, Failures::default()).map_err(
                |error| create_failed(format!("connect to Kafka at {}", cluster.brokers), &error),
            )?;
        let queue_records = config
            .get(QUEUE_PROPERTY)
            .and_then(|text| text.parse().ok());
        Ok(Self {
            producer: BatchProducer::new(producer, topic)?,
            topic: topic.to_owned(),
            queue_records: queue_records.unwrap_or(QUEUE_RECORDS),
        })
    }

    /// Hands a batch to the client; waits while its queue is full.
    pub(super) fn send(&mut self, batch: &Batch) -> anyhow::Result<()> {
        let mut enqueued = Entering::new(batch);
        loop {
            self.wait_for_room(batch.len())?;
            match enqueued.go_on(&mut self.producer) {
                Enqueued::All => return Ok(()),
                Enqueued::QueueFull => self.producer.client().poll(ROOM_WAIT),
                Enqueued::Refused(error) => {
                    self.failures().check(&self.topic)?;
                    bail!("cannot write to topic '{}': {error}", self.topic);
                }
            }
        }
    }

    /// Returns once everything is delivered.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        while self.producer.client().flush(FLUSH_WAIT).is_err() {
            self.check()?;
        }
        self.check()
    }

    /// The number of the next record of each partition, as the brokers see it.
    pub(in crate::cli) fn ends(&self) -> anyhow::Result<BTreeMap<i32, i64>> {
        let attempted = || format!("asking for the end of topic '{}'", self.topic);
        let client = self.producer.client().client();
        let metadata = client
            .fetch_metadata(Some(&self.topic), METADATA_TIMEOUT)
            .with_context(attempted)?;
        let partitions = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions());
        partitions
            .map(|partition| {
                let id = partition.id();
                let (_, end) = client
                    .fetch_watermarks(&self.topic, id, METADATA_TIMEOUT)
                    .with_context(attempted)?;
                Ok((id, end))
            })
            .collect()
    }

    /// Waits until a batch fits into the queue, or the queue is as empty as it gets.
    fn wait_for_room(&self, records: usize) -> anyhow::Result<()> {
        let records = i32::try_from(records).unwrap_or(i32::MAX);
        let fits = |waiting: i32| waiting == 0 || waiting + records <= self.queue_records;
        self.producer.client().poll(Duration::ZERO);
        self.check()?;
        while !fits(self.producer.client().in_flight_count()) {
            std::thread::sleep(ROOM_WAIT);
            self.producer.client().poll(Duration::ZERO);
            self.check()?;
        }
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        if let Some((code, reason)) = self.producer.client().client().fatal_error() {
            self.failures().note(format!("{reason} ({code})"));
        }
        self.failures().check(&self.topic)
    }

    fn failures(&self) -> &Failures {
        self.producer.client().context()
    }
}

fn client_config(cluster: &KafkaCluster, rate: Option<f64>) -> ClientConfig {
    let prompt = rate.is_some_and(|rate| rate < PROMPT_RATE);
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &cluster.brokers)
        .set("client.id", "floodmark-generate")
        // A retried send neither doubles nor reorders.
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", if prompt { "0" } else { "5" })
        .set("batch.num.messages", SEND_RECORDS.to_string())
        .set("batch.size", "1000000")
        .set(QUEUE_PROPERTY, QUEUE_RECORDS.to_string())
        // Java clients then put the same device into the same partition.
        .set("partitioner", "murmur2_random")
        // Success is what `flush` waits for; reporting it per record would cost more than sending.
        .set("delivery.report.only.error", "true")
        .set("message.timeout.ms", "60000");
    for (name, value) in &cluster.properties {
        config.set(name, value.expose());
    }
    config
}

/// Asks as the engine does, which knows what is wrong with a cluster that does not answer. Asking does not
/// create the topic.
fn require_topic(cluster: &KafkaCluster, topic: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + METADATA_TIMEOUT;
    match Topics::new(cluster)?.partitions(topic, deadline)? {
        Some(_) => Ok(()),
        None => bail!(
            "topic '{topic}' does not exist on {}; create it with `floodmark topics create FILE` \
             or with kafka-topics",
            cluster.brokers
        ),
    }
}
