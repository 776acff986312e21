//! `floodmark broker`.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::floodmark;
use super::process::{PATIENCE, Process};

/// Reads a topic from its beginning, as far as it is committed, until there are so many records.
pub(crate) fn read(address: &str, topic: &str, at_least: usize) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut found = Vec::new();
    loop {
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) => {
                found.push(String::from_utf8_lossy(message.payload().unwrap()).into_owned());
            }
            // Whether there are too many shows only once no more come.
            _ if found.len() >= at_least => return found,
            _ => assert!(Instant::now() < deadline, "{} of {at_least}", found.len()),
        }
    }
}

fn write(address: &str, topic: &str, value: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .create()
        .unwrap();
    let record = BaseRecord::<(), str>::to(topic).payload(value);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
}

#[test]
fn its_help_says_what_it_is_for() {
    insta::assert_snapshot!(floodmark(&["broker", "--help"], &[]));
}

#[test]
fn it_says_where_it_listens_and_how_to_use_it() {
    let mut broker = Process::start(&["broker", "--listen", "127.0.0.1:0"]);
    let address = broker.address();
    broker.interrupt();
    let status = broker.end();
    let shown = broker.output().replace(&address, "HOST:PORT");
    insta::assert_snapshot!(format!("exit code: {}\n{shown}", status.code().unwrap()));
}

#[test]
fn a_client_writes_and_reads_and_records_survive_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let start = || {
        let flags = ["--listen", "127.0.0.1:0", "--data", data, "--auto-create"];
        Process::start(&[&["broker"], &flags[..]].concat())
    };
    let mut broker = start();
    write(&broker.address(), "try", "hello");
    broker.interrupt();
    assert_eq!(broker.end().code(), Some(0), "{}", broker.output());
    assert_eq!(read(&start().address(), "try", 1), ["hello"]);
}

#[test]
fn a_port_that_is_taken_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let shown = floodmark(&["broker", "--listen", &address], &[]);
    insta::assert_snapshot!(shown.replace(&address, "HOST:PORT"));
}

#[test]
fn a_directory_that_another_broker_uses_is_named_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let flags = ["broker", "--listen", "127.0.0.1:0", "--data", data];
    let mut first = Process::start(&flags);
    first.address();
    insta::assert_snapshot!(floodmark(&flags, &[]).replace(data, "DIR"));
}

#[test]
fn a_size_that_is_none_is_wrong_usage() {
    insta::assert_snapshot!(floodmark(&["broker", "--memory-limit", "lots"], &[]));
}
