//! What every test starts from: the broker under test, names of its own, clients, and waits.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use floodmark_broker::Broker;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext,
};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use crate::wire::Wire;

/// Longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a state that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The broker of all tests: the one the environment names, else one in this process.
enum Cluster {
    Named(String),
    Embedded { address: String, _running: Broker },
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| match std::env::var("FLOODMARK_TEST_KAFKA") {
        Ok(brokers) => Cluster::Named(brokers),
        Err(_) => {
            let broker = Broker::builder().start().expect("the broker starts");
            let address = broker.address().to_string();
            Cluster::Embedded {
                address,
                _running: broker,
            }
        }
    })
}

/// What clients call `bootstrap.servers`.
pub(crate) fn brokers() -> &'static str {
    match cluster() {
        Cluster::Named(brokers) => brokers,
        Cluster::Embedded { address, .. } => address,
    }
}

/// Whether the embedded broker is under test. Says so if not, for tests that only it can run.
pub(crate) fn is_embedded() -> bool {
    let embedded = matches!(cluster(), Cluster::Embedded { .. });
    if !embedded {
        println!(
            "skipped: needs the broker's process or directory, FLOODMARK_TEST_KAFKA names another one"
        );
    }
    embedded
}

/// A name that no other test and no other run uses.
pub(crate) fn unique(prefix: &str) -> String {
    static RUN: OnceLock<u64> = OnceLock::new();
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let run = RUN.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    format!(
        "{prefix}-{run:016x}-{}",
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Looks until there is something to see. `what` completes "waited for".
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Runs a future of the admin client on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn config(settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers());
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

/// The admin client that all tests share.
pub(crate) fn admin() -> &'static AdminClient<DefaultClientContext> {
    static ADMIN: OnceLock<AdminClient<DefaultClientContext>> = OnceLock::new();
    // Of offsets it is asked for it tells those of all records, committed or not.
    let settings = [("isolation.level", "read_uncommitted")];
    ADMIN.get_or_init(|| config(&settings).create().expect("an admin client"))
}

/// Options of admin requests: wait until it is done.
pub(crate) fn patient() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}

/// Makes a topic with a name of its own.
pub(crate) fn topic(prefix: &str, partitions: i32) -> String {
    topic_with(prefix, partitions, &[])
}

/// Makes a topic with a name of its own and these properties.
pub(crate) fn topic_with(prefix: &str, partitions: i32, properties: &[(&str, &str)]) -> String {
    let name = unique(prefix);
    // Records stamped long ago must not go while a test looks at them.
    let mut new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    if properties.iter().all(|(name, _)| *name != "retention.ms") {
        new = new.set("retention.ms", "-1");
    }
    for (property, value) in properties {
        new = new.set(property, value);
    }
    let results = block_on(admin().create_topics([&new], &patient())).expect("an answer");
    assert_eq!(results, [Ok(name.clone())]);
    wait_for_partitions(&name, partitions as usize);
    name
}

/// Waits until clients see so many partitions and the broker leads them. What Kafka's controller has
/// decided reaches its brokers a moment later, and their logs another moment later.
pub(crate) fn wait_for_partitions(topic: &str, partitions: usize) {
    eventually("the topic's partitions", || {
        (partition_count(topic)? == partitions).then_some(())
    });
    let mut wire = Wire::connect();
    eventually("the topic's leader", || {
        wire.leads(topic, partitions as i32).then_some(())
    });
}

/// Partitions of a topic if all have a leader; `None` if there is no such topic.
pub(crate) fn partition_count(topic: &str) -> Option<usize> {
    let metadata = admin()
        .inner()
        .fetch_metadata(Some(topic), PATIENCE)
        .expect("metadata");
    let found = metadata.topics().iter().find(|t| t.name() == topic)?;
    let ready = found.error().is_none() && found.partitions().iter().all(|p| p.leader() >= 0);
    (ready && !found.partitions().is_empty()).then(|| found.partitions().len())
}

/// First offset and end of a partition, for readers of uncommitted records.
pub(crate) fn watermarks(topic: &str, partition: i32) -> (i64, i64) {
    admin()
        .inner()
        .fetch_watermarks(topic, partition, PATIENCE)
        .expect("watermarks")
}

/// What became of a record: partition and offset, or why not.
pub(crate) type Delivery = Result<(i32, i64), RDKafkaErrorCode>;

/// Collects what became of records.
#[derive(Default)]
pub(crate) struct Deliveries(Mutex<Vec<Delivery>>);

impl Deliveries {
    /// What came since the last call.
    pub(crate) fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut *self.0.lock().expect("no test panicked here"))
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let delivery = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(code(error)),
        };
        self.0.lock().expect("no test panicked here").push(delivery);
    }
}

/// A producer that collects what becomes of its records.
pub(crate) type TestProducer = BaseProducer<Deliveries, NoCustomPartitioner>;

/// Makes a producer.
pub(crate) fn producer(settings: &[(&str, &str)]) -> TestProducer {
    config(settings)
        .create_with_context(Deliveries::default())
        .expect("a producer")
}

/// Makes a producer that works through other addresses than the suite's.
pub(crate) fn producer_at(brokers: &str, settings: &[(&str, &str)]) -> TestProducer {
    config(settings)
        .set("bootstrap.servers", brokers)
        .create_with_context(Deliveries::default())
        .expect("a producer")
}

/// Queues a value without a key.
pub(crate) fn send(producer: &TestProducer, topic: &str, partition: i32, value: &str) {
    let record = BaseRecord::<(), str>::to(topic)
        .partition(partition)
        .payload(value);
    producer
        .send(record)
        .map_err(|(error, _)| error)
        .expect("queued");
}

/// Waits for all that is queued; returns what became of it.
pub(crate) fn flush(producer: &TestProducer) -> Vec<Delivery> {
    // The client's own flush looks at its queue every 100 ms, which adds up over a suite.
    eventually("the acknowledgements", || {
        producer.poll(Duration::from_millis(1));
        (producer.in_flight_count() == 0).then_some(())
    });
    producer.context().take()
}

/// Waits for all that is queued and commits the transaction.
pub(crate) fn settle(producer: &TestProducer) -> KafkaResult<()> {
    flush(producer);
    producer.commit_transaction(PATIENCE)
}

/// Writes values to a partition; returns their offsets.
pub(crate) fn write(topic: &str, partition: i32, values: &[&str]) -> Vec<i64> {
    let producer = producer(&[]);
    for value in values {
        send(&producer, topic, partition, value);
    }
    flush(&producer)
        .into_iter()
        .map(|delivery| delivery.expect("written").1)
        .collect()
}

/// The code of any error of the client.
pub(crate) fn code(error: &KafkaError) -> RDKafkaErrorCode {
    match error {
        KafkaError::AdminOp(code) => *code,
        KafkaError::Transaction(error) => error.code(),
        other => other.rdkafka_error_code().expect("an error with a code"),
    }
}

/// Counts the assignments that a group gives to a member.
#[derive(Default)]
pub(crate) struct Rebalances(AtomicUsize);

impl ClientContext for Rebalances {}

impl ConsumerContext for Rebalances {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A consumer that counts its assignments.
pub(crate) type TestConsumer = BaseConsumer<Rebalances>;

/// Makes a consumer of a group. It commits when told to and starts at the beginning.
pub(crate) fn consumer(group: &str, settings: &[(&str, &str)]) -> TestConsumer {
    let mut config = config(&[
        ("group.id", group),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "earliest"),
        ("enable.partition.eof", "true"),
        ("check.crcs", "true"),
        // A heartbeat is how a member hears that others came or went.
        ("heartbeat.interval.ms", "200"),
    ]);
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
        .create_with_context(Rebalances::default())
        .expect("a consumer")
}

/// How often a group gave this consumer an assignment.
pub(crate) fn assignments(consumer: &TestConsumer) -> usize {
    consumer.context().0.load(Ordering::Relaxed)
}

/// The partitions that a consumer has.
pub(crate) fn assigned(consumer: &TestConsumer) -> BTreeSet<i32> {
    let list = consumer.assignment().expect("an assignment");
    list.elements().iter().map(|e| e.partition()).collect()
}

/// A list of partitions of one topic, each with an offset.
pub(crate) fn positions(topic: &str, offsets: &[(i32, Offset)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, *offset)
            .expect("an offset");
    }
    list
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Row {
    /// A copy of what the client lends.
    pub(crate) fn of(message: &impl Message) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            let owned = headers
                .iter()
                .map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec)));
            owned.collect()
        });
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        }
    }

    /// The value, which is text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.value.clone().expect("a value")).expect("text")
    }
}

/// The values, which are text.
pub(crate) fn texts(rows: &[Row]) -> Vec<String> {
    rows.iter().map(Row::text).collect()
}

/// Reads all partitions from the beginning to where they end now, in order per partition.
pub(crate) fn read(topic: &str, settings: &[(&str, &str)]) -> Vec<Row> {
    let partitions = partition_count(topic).expect("the topic exists") as i32;
    let starts: Vec<_> = (0..partitions).map(|p| (p, Offset::Beginning)).collect();
    read_from(topic, &starts, settings)
}

/// What transactions have committed, and what was written outside of them.
pub(crate) fn read_committed(topic: &str) -> Vec<Row> {
    read(topic, &[("isolation.level", "read_committed")])
}

/// What is there, committed or not.
pub(crate) fn read_uncommitted(topic: &str) -> Vec<Row> {
    read(topic, &[("isolation.level", "read_uncommitted")])
}

/// Reads partitions from given offsets to where they end now.
pub(crate) fn read_from(
    topic: &str,
    starts: &[(i32, Offset)],
    settings: &[(&str, &str)],
) -> Vec<Row> {
    let reader = consumer(&unique("reader"), settings);
    reader.assign(&positions(topic, starts)).expect("assigned");
    let mut open: BTreeSet<i32> = starts.iter().map(|(partition, _)| *partition).collect();
    let mut rows = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while !open.is_empty() {
        assert!(Instant::now() < deadline, "{topic}: {open:?} do not end");
        match reader.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => rows.push(Row::of(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => panic!("reading {topic}: {error}"),
        }
    }
    rows
}
