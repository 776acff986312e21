//! Clients that are many, or slow.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{FetchRequest, MetadataRequest, ProduceRequest};

use super::client::frame;
use super::site::{PROMPT, Site, topic};

/// Bytes of a record that a topic takes.
const PAYLOAD: usize = 1_000_000;

/// A batch of one record of so many zeros (KIP-98, magic 2).
fn batch(payload: usize) -> Bytes {
    let mut record = BytesMut::new();
    record.put_slice(&[0, 0, 0, 1]); // attributes, timestamp and offset deltas, no key
    zigzag(&mut record, payload);
    record.put_bytes(0, payload);
    record.put_u8(0); // headers
    let mut records = BytesMut::new();
    zigzag(&mut records, record.len());
    records.extend_from_slice(&record);

    // Older records would not be kept.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("it is after 1970").as_millis() as i64;
    let mut checked = BytesMut::new();
    checked.put_i16(0); // attributes
    checked.put_i32(0); // last offset delta
    checked.put_i64(now); // first timestamp
    checked.put_i64(now); // last timestamp
    checked.put_i64(-1); // producer id
    checked.put_i16(-1); // producer epoch
    checked.put_i32(-1); // first sequence
    checked.put_i32(1); // records
    checked.extend_from_slice(&records);

    let mut batch = BytesMut::new();
    batch.put_i64(0); // first offset
    batch.put_i32((checked.len() + 9) as i32);
    batch.put_i32(-1); // leader epoch
    batch.put_i8(2); // magic
    batch.put_u32(crc32c::crc32c(&checked));
    batch.extend_from_slice(&checked);
    batch.freeze()
}

fn zigzag(out: &mut BytesMut, value: usize) {
    let mut value = value << 1;
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn produce(site: &Site, records: usize) {
    let mut client = site.client();
    for _ in 0..records {
        let partition = PartitionProduceData::default().with_records(Some(batch(PAYLOAD)));
        let topic = TopicProduceData::default()
            .with_name(topic("t"))
            .with_partition_data(vec![partition]);
        let request = ProduceRequest::default()
            .with_acks(1)
            .with_timeout_ms(1_000)
            .with_topic_data(vec![topic]);
        let answer = client.call(&request, 8).expect("it is answered");
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    }
}

fn fetch_all() -> FetchRequest {
    let partition = FetchPartition::default().with_partition_max_bytes(i32::MAX);
    FetchRequest::default()
        .with_max_bytes(i32::MAX)
        .with_topics(vec![
            FetchTopic::default()
                .with_topic(topic("t"))
                .with_partitions(vec![partition]),
        ])
}

/// The slowest of some first answers to new clients.
fn slowest(site: &Site) -> Duration {
    let trips = (0..20).map(|_| site.round_trip());
    trips.max().unwrap_or_default()
}

#[test]
fn a_thousand_silent_connections_cost_little_and_delay_nobody() {
    let site = Site::new();
    let silent: Vec<_> = (0..1_000).map(|_| site.client()).collect();
    let waited = slowest(&site);
    assert!(waited < PROMPT, "another client waited {waited:?}");
    site.stands(64);
    drop(silent);
}

#[test]
fn connections_beyond_the_limit_are_closed_and_make_room_when_they_end() {
    let site = Site::new();
    let mut many: Vec<_> = (0..2_100).map(|_| site.client()).collect();
    let last = many.last_mut().expect("there are some");
    assert!(last.is_closed());
    drop(many);
    let begin = Instant::now();
    loop {
        let request = MetadataRequest::default();
        if site.client().call(&request, 4).is_ok() {
            break;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "there is no room"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    site.stands(128);
}

#[test]
fn clients_that_never_read_what_they_fetch_hold_little_and_delay_nobody() {
    let site = Site::new();
    produce(&site, 48);
    let produced = site.taken();
    let fetch = frame(&fetch_all(), 4);
    let mut deaf: Vec<_> = (0..150).map(|_| site.client()).collect();
    for client in &mut deaf {
        for _ in 0..10 {
            client.send(&fetch).expect("it is sent");
        }
    }
    let begin = Instant::now();
    let mut worst = Duration::ZERO;
    while begin.elapsed() < Duration::from_secs(3) {
        worst = worst.max(site.round_trip());
    }
    assert!(worst < PROMPT, "another client waited {worst:?}");
    // Somebody who reads still gets records.
    let answer = site.client().call(&fetch_all(), 4).expect("it is answered");
    let records = answer.responses[0].partitions[0].records.as_ref();
    assert!(records.is_some_and(|records| records.len() >= PAYLOAD));
    // The budget of 256 MiB, and what is on its way through a thread.
    site.stands(produced + 450);
}

#[test]
fn clients_that_never_read_other_answers_hold_little() {
    let site = Site::new();
    let topics = (0..20_000)
        .map(|number| MetadataRequestTopic::default().with_name(Some(topic(&number.to_string()))))
        .collect();
    let large = frame(&MetadataRequest::default().with_topics(Some(topics)), 1);
    let mut deaf: Vec<_> = (0..20).map(|_| site.client()).collect();
    for client in &mut deaf {
        // The broker may have enough of it.
        let _ = client.send(&large);
        let _ = client.send(&large);
        let _ = client.send(&large);
    }
    site.stands(200);
}
