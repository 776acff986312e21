//! What survives the end of the broker, and what does not: the embedded broker only.

use std::path::Path;

use floodmark_broker::Broker;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use rdkafka::{ClientConfig, Message, Offset};

use crate::support::{
    PATIENCE, block_on, code, eventually, flush, is_embedded, positions, producer_at, send, settle,
};

fn start(directory: &Path) -> Broker {
    start_at(directory, "127.0.0.1:0")
}

fn start_at(directory: &Path, address: &str) -> Broker {
    let builder = Broker::builder().listen(address).data_dir(directory);
    builder.start().expect("the broker starts")
}

fn client(broker: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.address().to_string());
    config
}

fn create(broker: &Broker, topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = client(broker).create().expect("a client");
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1))
        .set("max.message.bytes", "123456");
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let results = block_on(admin.create_topics([&new], &options)).expect("an answer");
    assert!(results[0].is_ok(), "{results:?}");
}

/// The values of partition 0 that are committed, up to its end now.
fn read(broker: &Broker, topic: &str) -> Vec<String> {
    let reader: BaseConsumer = client(broker)
        .set("group.id", "reader")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    reader
        .assign(&positions(topic, &[(0, Offset::Beginning)]))
        .expect("assigned");
    let mut values = Vec::new();
    loop {
        match reader.poll(PATIENCE).expect("in time") {
            Ok(message) => {
                let value = message.payload().expect("a value");
                values.push(String::from_utf8_lossy(value).into_owned());
            }
            Err(KafkaError::PartitionEOF(_)) => return values,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    if !is_embedded() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let broker = start(directory.path());
    create(&broker, "t", 2);
    let address = broker.address().to_string();
    let writer = producer_at(&address, &[]);
    for value in ["a", "b", "c"] {
        send(&writer, "t", 0, value);
    }
    assert!(flush(&writer).iter().all(Result::is_ok));
    let group: BaseConsumer = client(&broker)
        .set("group.id", "g")
        .create()
        .expect("a consumer");
    let at = positions("t", &[(0, Offset::Offset(2))]);
    group.commit(&at, CommitMode::Sync).expect("committed");
    drop((writer, group, broker));

    let broker = start(directory.path());
    assert_eq!(read(&broker, "t"), ["a", "b", "c"]);
    let group: BaseConsumer = client(&broker)
        .set("group.id", "g")
        .create()
        .expect("a consumer");
    let found = group.committed_offsets(at, PATIENCE).expect("an answer");
    assert_eq!(found.elements()[0].offset(), Offset::Offset(2));
    let admin: AdminClient<DefaultClientContext> = client(&broker).create().expect("a client");
    let options = AdminOptions::new();
    let topic = ResourceSpecifier::Topic("t");
    let answer = block_on(admin.describe_configs([&topic], &options)).expect("an answer");
    let resource = answer[0].as_ref().expect("its configuration");
    let limit = resource.get("max.message.bytes").expect("it is set");
    assert_eq!(limit.value.as_deref(), Some("123456"));
    let writer = producer_at(&broker.address().to_string(), &[]);
    send(&writer, "t", 0, "d");
    assert_eq!(flush(&writer), [Ok((0, 3))]);
}

#[test]
fn an_idempotent_producer_goes_on_over_restarts_and_nothing_is_stored_twice() {
    if !is_embedded() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut broker = start(directory.path());
    create(&broker, "t", 1);
    let address = broker.address().to_string();
    let settings = [
        ("enable.idempotence", "true"),
        ("batch.num.messages", "7"),
        ("linger.ms", "0"),
        ("reconnect.backoff.ms", "10"),
        ("reconnect.backoff.max.ms", "50"),
        ("retry.backoff.ms", "10"),
    ];
    let writer = producer_at(&address, &settings);
    let mut acknowledged = 0;
    for round in 0..5 {
        for number in 0..500 {
            send(&writer, "t", 0, &(round * 500 + number).to_string());
        }
        // Goes away with requests under way, and comes back at the same address.
        writer.poll(std::time::Duration::ZERO);
        drop(broker);
        broker = eventually("the port", || {
            let builder = Broker::builder()
                .listen(address.as_str())
                .data_dir(directory.path());
            builder.start().ok()
        });
        acknowledged += writer.context().take().len();
    }
    let rest = flush(&writer);
    assert!(rest.iter().all(Result::is_ok), "{rest:?}");
    assert_eq!(acknowledged + rest.len(), 2_500);
    let expected: Vec<_> = (0..2_500).map(|n| n.to_string()).collect();
    assert_eq!(read(&broker, "t"), expected);
}

#[test]
fn an_open_transaction_survives_a_restart_and_is_decided_after_it() {
    if !is_embedded() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut broker = start(directory.path());
    create(&broker, "t", 1);
    let address = broker.address().to_string();
    for (round, commit) in [true, false].into_iter().enumerate() {
        let writer = producer_at(&address, &[("transactional.id", "x")]);
        writer.init_transactions(PATIENCE).expect("initialised");
        writer.begin_transaction().expect("begun");
        send(&writer, "t", 0, &round.to_string());
        assert!(flush(&writer).iter().all(Result::is_ok));
        drop(broker);
        broker = start_at(directory.path(), &address);
        if commit {
            settle(&writer).expect("committed");
        } else {
            writer.abort_transaction(PATIENCE).expect("aborted");
        }
    }
    assert_eq!(read(&broker, "t"), ["0"]);
    drop(broker);
    assert_eq!(read(&start(directory.path()), "t"), ["0"]);
}

#[test]
fn a_transaction_that_nobody_ends_is_aborted_by_its_successor_after_a_restart() {
    if !is_embedded() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let broker = start(directory.path());
    create(&broker, "t", 1);
    let settings = [("transactional.id", "x")];
    let writer = producer_at(&broker.address().to_string(), &settings);
    writer.init_transactions(PATIENCE).expect("initialised");
    writer.begin_transaction().expect("begun");
    send(&writer, "t", 0, "lost");
    assert!(flush(&writer).iter().all(Result::is_ok));
    drop((writer, broker));

    let broker = start(directory.path());
    let writer = producer_at(&broker.address().to_string(), &settings);
    writer.init_transactions(PATIENCE).expect("initialised");
    writer.begin_transaction().expect("begun");
    send(&writer, "t", 0, "kept");
    settle(&writer).expect("committed");
    assert_eq!(read(&broker, "t"), ["kept"]);
}

#[test]
fn a_broker_without_a_directory_forgets() {
    if !is_embedded() {
        return;
    }
    let broker = Broker::builder().start().expect("the broker starts");
    create(&broker, "t", 1);
    drop(broker);
    let broker = Broker::builder().start().expect("the broker starts");
    let reader: BaseConsumer = client(&broker).create().expect("a consumer");
    let metadata = reader.fetch_metadata(None, PATIENCE).expect("metadata");
    assert!(metadata.topics().is_empty());
}

#[test]
fn one_broker_at_a_time_uses_a_directory() {
    if !is_embedded() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let broker = start(directory.path());
    let second = Broker::builder().data_dir(directory.path()).start();
    assert!(second.is_err());
    drop(broker);
    drop(start(directory.path()));
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    if !is_embedded() {
        return;
    }
    let broker = Broker::builder().start().expect("the broker starts");
    let taken = broker.address().to_string();
    assert!(Broker::builder().listen(taken).start().is_err());
}

#[test]
fn topics_come_by_themselves_where_that_is_asked_for() {
    if !is_embedded() {
        return;
    }
    let broker = Broker::builder()
        .auto_create_topics(2)
        .start()
        .expect("the broker starts");
    let writer = producer_at(&broker.address().to_string(), &[]);
    let delivery = eventually("the topic", || {
        send(&writer, "new", 1, "a");
        match flush(&writer).pop().expect("a delivery") {
            Ok(place) => Some(place),
            Err(error) => {
                assert_eq!(error, code(&KafkaError::MessageProduction(error)));
                None
            }
        }
    });
    assert_eq!(delivery, (1, 0));
}
