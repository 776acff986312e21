//! What the broker itself costs: events produced and fetched over TCP per CPU second of its threads.
//!
//! `cargo bench -p floodmark-broker --profile dev --bench broker [-- DIRECTORY]`; with a directory the
//! broker keeps its data there. A bare client sends batches that were encoded beforehand and does not
//! look into what it fetches, so that hardly anything but the broker is measured: its CPU time is read
//! from its threads, which are called `broker`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use floodmark_broker::Broker;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, CreateTopicsResponse, FetchRequest, FetchResponse, ProduceRequest,
    ProduceResponse, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

const EVENT: &[u8; 140] = br#"{"device_id":"MTR-00123","ts":"2025-08-17T12:34:56.789Z","temperature_c":78.61,"vibration_g":0.123,"status":"OK","site":"fab1","line":"L01"}"#;
const EVENTS_PER_BATCH: i64 = 500;
const PARTITIONS: i32 = 3;
const REQUESTS: usize = 6_000;
const IN_FLIGHT: usize = 5;

fn main() {
    let directory = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let mut builder = Broker::builder().memory_limit(4 << 30);
    if let Some(directory) = &directory {
        builder = builder.data_dir(directory);
    }
    let broker = builder.start().expect("the broker starts");
    let mut client = Client::connect(broker.address());
    client.create_topic();

    let frames: Vec<Bytes> = (0..PARTITIONS).map(produce_frame).collect();
    let events = REQUESTS as f64 * EVENTS_PER_BATCH as f64;
    let measured = measure(|| {
        let mut waiting = 0;
        for request in 0..REQUESTS {
            client.send(&frames[request % frames.len()]);
            waiting += 1;
            if waiting == IN_FLIGHT {
                check_produced(client.receive());
                waiting -= 1;
            }
        }
        (0..waiting).for_each(|_| check_produced(client.receive()));
    });
    let home = directory.as_deref().unwrap_or("memory");
    report(&format!("produced into {home}"), events, &measured);

    let mut fetched = 0;
    let measured = measure(|| {
        let mut offsets = [0_i64; PARTITIONS as usize];
        loop {
            client.send(&fetch_frame(&offsets));
            let before = fetched;
            fetched += advance(client.receive(), &mut offsets);
            if fetched == before {
                break;
            }
        }
    });
    assert_eq!(fetched as f64, events, "every event is fetched");
    report(&format!("fetched from {home}"), events, &measured);
}

struct Measured {
    elapsed: Duration,
    cpu: Duration,
}

fn measure(work: impl FnOnce()) -> Measured {
    let (started, cpu) = (Instant::now(), broker_cpu());
    work();
    Measured {
        elapsed: started.elapsed(),
        cpu: broker_cpu().saturating_sub(cpu),
    }
}

fn report(what: &str, events: f64, measured: &Measured) {
    println!(
        "{what}: {events} events in {:.2} s, {:.2} million/s; the broker took {:.2} CPU s: {:.0} ns an event, {:.2} million/s on one core",
        measured.elapsed.as_secs_f64(),
        events / measured.elapsed.as_secs_f64() / 1e6,
        measured.cpu.as_secs_f64(),
        measured.cpu.as_secs_f64() / events * 1e9,
        events / measured.cpu.as_secs_f64() / 1e6,
    );
}

/// CPU time of the broker's threads, in steps of a clock tick (10 ms).
fn broker_cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let ticks = |stat: String| -> Option<u64> {
        let (name, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
        let mut fields = fields.split_whitespace().skip(11);
        let (user, system) = (fields.next()?, fields.next()?);
        let total = user.parse::<u64>().ok()? + system.parse::<u64>().ok()?;
        Some(if name == "broker" { total } else { 0 })
    };
    let total: u64 = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok())
        .filter_map(ticks)
        .sum();
    Duration::from_millis(total * 10)
}

struct Client(TcpStream);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the broker accepts");
        stream.set_nodelay(true).expect("a TCP stream");
        Self(stream)
    }

    fn create_topic(&mut self) {
        let topic = CreatableTopic::default()
            .with_name(topic())
            .with_num_partitions(PARTITIONS)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        self.send(&frame(ApiKey::CreateTopics, 4, &request));
        let response = CreateTopicsResponse::decode(&mut self.receive(), 4);
        let topics = response.expect("an answer").topics;
        assert!(
            topics.iter().all(|topic| topic.error_code == 0),
            "{topics:?}"
        );
    }

    fn send(&mut self, frame: &[u8]) {
        self.0.write_all(frame).expect("the broker reads");
    }

    /// An answer without its length and correlation id.
    fn receive(&mut self) -> Bytes {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).expect("an answer");
        let mut body = vec![0; i32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body).expect("a whole answer");
        Bytes::from(body).slice(4..)
    }
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("bench"))
}

fn frame(key: ApiKey, version: i16, request: &impl Encodable) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("bench")))
        .encode(&mut frame, 1)
        .expect("a header");
    request.encode(&mut frame, version).expect("a request");
    let length = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

fn produce_frame(partition: i32) -> Bytes {
    let record = |offset| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset,
        // The encoder starts another batch where sequences do not rise with offsets.
        sequence: offset as i32 - 1,
        timestamp: 1_755_434_096_789,
        key: Some(Bytes::from_static(b"MTR-00123")),
        value: Some(Bytes::from_static(EVENT)),
        headers: kafka_protocol::indexmap::IndexMap::new(),
    };
    let records: Vec<_> = (0..EVENTS_PER_BATCH).map(record).collect();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    let mut batch = BytesMut::new();
    RecordBatchEncoder::encode(&mut batch, &records, &options).expect("a batch");
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batch.freeze()));
    let topic = TopicProduceData::default()
        .with_name(topic())
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic]);
    frame(ApiKey::Produce, 7, &request)
}

fn check_produced(mut answer: Bytes) {
    let response = ProduceResponse::decode(&mut answer, 7).expect("a produce response");
    let mut partitions = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    assert!(
        partitions.all(|partition| partition.error_code == 0),
        "{response:?}"
    );
}

fn fetch_frame(offsets: &[i64]) -> Bytes {
    let partitions = (0..PARTITIONS)
        .zip(offsets)
        .map(|(partition, offset)| {
            FetchPartition::default()
                .with_partition(partition)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(1 << 20)
        })
        .collect();
    let topic = FetchTopic::default()
        .with_topic(topic())
        .with_partitions(partitions);
    let request = FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_topics(vec![topic]);
    frame(ApiKey::Fetch, 11, &request)
}

/// Moves the offsets behind what came, by the headers of its batches; how many events it was.
fn advance(mut answer: Bytes, offsets: &mut [i64]) -> u64 {
    let response = FetchResponse::decode(&mut answer, 11).expect("a fetch response");
    let mut events = 0;
    let partitions = || {
        response
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions)
    };
    assert!(
        partitions().all(|partition| partition.error_code == 0),
        "{response:?}"
    );
    for partition in partitions() {
        let mut records = partition.records.clone().unwrap_or_default();
        let offset = &mut offsets[partition.partition_index as usize];
        while records.len() >= 61 {
            let length =
                12 + i32::from_be_bytes(records[8..12].try_into().expect("four bytes")) as usize;
            let count = i32::from_be_bytes(records[57..61].try_into().expect("four bytes"));
            *offset += i64::from(count);
            events += count as u64;
            records = records.slice(length..);
        }
    }
    events
}
