//! The protocol itself, for questions that a client library would not ask.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    BrokerId, FetchRequest, GroupId, InitProducerIdRequest, ListOffsetsRequest, ProduceRequest,
    ProducerId, RequestHeader, ResponseHeader, TopicName, TransactionalId,
};
use kafka_protocol::protocol::{
    Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer,
};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};

use crate::support::{PATIENCE, brokers, eventually};

/// Error codes that the protocol's guide lists.
pub(crate) mod errors {
    pub(crate) const NONE: i16 = 0;
    pub(crate) const OFFSET_OUT_OF_RANGE: i16 = 1;
    pub(crate) const CORRUPT_MESSAGE: i16 = 2;
    pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    pub(crate) const ILLEGAL_GENERATION: i16 = 22;
    pub(crate) const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
    pub(crate) const UNKNOWN_MEMBER_ID: i16 = 25;
    pub(crate) const INVALID_SESSION_TIMEOUT: i16 = 26;
    pub(crate) const UNSUPPORTED_VERSION: i16 = 35;
    pub(crate) const INVALID_CONFIG: i16 = 40;
    pub(crate) const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    pub(crate) const INVALID_PRODUCER_EPOCH: i16 = 47;
    pub(crate) const INVALID_TXN_STATE: i16 = 48;
    pub(crate) const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
    pub(crate) const INVALID_TRANSACTION_TIMEOUT: i16 = 50;
    pub(crate) const CONCURRENT_TRANSACTIONS: i16 = 51;
    pub(crate) const OPERATION_NOT_ATTEMPTED: i16 = 55;
    pub(crate) const MEMBER_ID_REQUIRED: i16 = 79;
    pub(crate) const FENCED_INSTANCE_ID: i16 = 82;
    pub(crate) const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;
    pub(crate) const UNSTABLE_OFFSET_COMMIT: i16 = 88;
    pub(crate) const PRODUCER_FENCED: i16 = 90;
}

/// Versions that these tests speak: the newest that name topics instead of giving their ids.
const PRODUCE: i16 = 9;
const FETCH: i16 = 12;
const INIT_PRODUCER_ID: i16 = 4;
const LIST_OFFSETS: i16 = 7;

/// Isolation levels of a fetch.
pub(crate) const READ_UNCOMMITTED: i8 = 0;
pub(crate) const READ_COMMITTED: i8 = 1;

/// One connection.
pub(crate) struct Wire {
    stream: TcpStream,
    next: i32,
}

impl Wire {
    /// Connects to the broker under test, a single node: it leads and coordinates everything.
    pub(crate) fn connect() -> Self {
        let first = brokers().split(',').next().expect("an address");
        let stream = TcpStream::connect(first).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, next: 1 }
    }

    /// Sends a request; returns its correlation id.
    pub(crate) fn send<R: Request>(&mut self, request: &R, version: i16) -> i32 {
        let correlation = self.next;
        self.next += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(StrBytes::from_static_str("conformance")));
        let mut frame = BytesMut::new();
        encode_request_header_into_buffer(&mut frame, &header).expect("a header");
        request.encode(&mut frame, version).expect("a request");
        self.send_frame(&frame);
        correlation
    }

    /// Sends bytes that need not be a request.
    pub(crate) fn send_frame(&mut self, frame: &[u8]) {
        let length = (frame.len() as u32).to_be_bytes();
        self.stream
            .write_all(&[&length, frame].concat())
            .expect("sent");
    }

    /// Receives the next answer, whatever it is.
    pub(crate) fn receive_frame(&mut self) -> Bytes {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("a length");
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).expect("an answer");
        frame.into()
    }

    /// Receives the answer to a request of this kind; returns it with its correlation id.
    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let mut frame = self.receive_frame();
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version))
            .expect("a response header");
        let response = R::Response::decode(&mut frame, version).expect("a response");
        assert!(!frame.has_remaining(), "nothing follows the answer");
        (header.correlation_id, response)
    }

    /// Sends a request and receives its answer.
    pub(crate) fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let sent = self.send(request, version);
        let (answered, response) = self.receive::<R>(version);
        assert_eq!(answered, sent, "answers come in the order of requests");
        response
    }

    /// A producer id without transactions.
    pub(crate) fn producer(&mut self) -> Identity {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let answer = self.call(&request, INIT_PRODUCER_ID);
        assert_eq!(answer.error_code, errors::NONE);
        Identity {
            id: answer.producer_id.0,
            epoch: answer.producer_epoch,
        }
    }

    /// Takes over a transactional id. Waits for the end of a transaction that the former owner left.
    pub(crate) fn transactional(&mut self, id: &str) -> Identity {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(transactional_id(id)))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        eventually("a producer id", || {
            let answer = self.call(&request, INIT_PRODUCER_ID);
            if answer.error_code == errors::CONCURRENT_TRANSACTIONS {
                return None;
            }
            // 15: the coordinator's partition is being made; 16: it is being loaded.
            if [14, 15, 16].contains(&answer.error_code) {
                return None;
            }
            assert_eq!(answer.error_code, errors::NONE);
            Some(Identity {
                id: answer.producer_id.0,
                epoch: answer.producer_epoch,
            })
        })
    }

    /// Produces one batch to partition 0 with `acks=all`.
    pub(crate) fn produce(&mut self, topic: &str, batch: Bytes) -> PartitionProduceResponse {
        self.produce_as(None, topic, 0, batch)
    }

    /// Produces one batch with `acks=all`, as the owner of a transactional id if one is given.
    pub(crate) fn produce_as(
        &mut self,
        id: Option<&str>,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> PartitionProduceResponse {
        let request = produce_request(topic, partition, batch, -1)
            .with_transactional_id(id.map(transactional_id));
        let mut answer = self.call(&request, PRODUCE);
        let mut topic = answer.responses.pop().expect("the topic's answer");
        topic.partition_responses.pop().expect("the partition's")
    }

    /// Sends a batch for partition 0 with `acks=all` and does not wait for the answer.
    pub(crate) fn send_produce(&mut self, topic: &str, batch: Bytes) -> i32 {
        self.send(&produce_request(topic, 0, batch, -1), PRODUCE)
    }

    /// The next answer, to a batch that was sent: correlation id and result.
    pub(crate) fn receive_produce(&mut self) -> (i32, PartitionProduceResponse) {
        let (correlation, mut answer) = self.receive::<ProduceRequest>(PRODUCE);
        let mut topic = answer.responses.pop().expect("the topic's answer");
        let partition = topic.partition_responses.pop().expect("the partition's");
        (correlation, partition)
    }

    /// Produces without asking for an acknowledgement: there is no answer.
    pub(crate) fn produce_unacknowledged(&mut self, topic: &str, batch: Bytes) {
        self.send(&produce_request(topic, 0, batch, 0), PRODUCE);
    }

    /// Whether the broker answers for all partitions of a topic.
    pub(crate) fn leads(&mut self, topic: &str, partitions: i32) -> bool {
        let asked = (0..partitions).map(|partition| {
            ListOffsetsPartition::default()
                .with_partition_index(partition)
                .with_current_leader_epoch(-1)
                .with_timestamp(-1)
        });
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(asked.collect());
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![topic]);
        let answer = self.call(&request, LIST_OFFSETS);
        let mut answers = answer.topics.iter().flat_map(|topic| &topic.partitions);
        answers.all(|partition| partition.error_code == errors::NONE)
    }

    /// Fetches from one partition.
    pub(crate) fn fetch(&mut self, fetch: &Fetch<'_>) -> PartitionData {
        let mut answer = self.call(&fetch.request(), FETCH);
        assert_eq!(answer.error_code, errors::NONE);
        // A fetch without a session names every partition it was asked for.
        let mut topic = answer.responses.pop().expect("the topic's answer");
        topic.partitions.pop().expect("the partition's")
    }
}

fn produce_request(topic: &str, partition: i32, batch: Bytes, acks: i16) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batch));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic])
}

/// A fetch from one partition, without a session.
#[derive(Clone, Copy)]
pub(crate) struct Fetch<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) max_wait_ms: i32,
    pub(crate) min_bytes: i32,
    pub(crate) max_bytes: i32,
    pub(crate) isolation: i8,
}

impl<'a> Fetch<'a> {
    /// From an offset of partition 0, whatever there is, without waiting.
    pub(crate) fn at(topic: &'a str, offset: i64) -> Self {
        Self {
            topic,
            partition: 0,
            offset,
            max_wait_ms: 0,
            min_bytes: 1,
            max_bytes: 50 << 20,
            isolation: READ_UNCOMMITTED,
        }
    }

    fn request(&self) -> FetchRequest {
        let partition = FetchPartition::default()
            .with_partition(self.partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(self.offset)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(self.max_bytes);
        let topic = FetchTopic::default()
            .with_topic(topic_name(self.topic))
            .with_partitions(vec![partition]);
        FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(self.max_wait_ms)
            .with_min_bytes(self.min_bytes)
            .with_max_bytes(self.max_bytes)
            .with_isolation_level(self.isolation)
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(vec![topic])
    }
}

/// Who produces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// Nobody in particular.
pub(crate) const ANYONE: Identity = Identity { id: -1, epoch: -1 };

/// One record batch. `sequence` is that of its first record.
pub(crate) fn batch(producer: Identity, sequence: i32, values: &[&str]) -> Bytes {
    encode(producer, sequence, false, values)
}

/// One record batch of a transaction.
pub(crate) fn transactional_batch(producer: Identity, sequence: i32, values: &[&str]) -> Bytes {
    encode(producer, sequence, true, values)
}

fn encode(producer: Identity, sequence: i32, transactional: bool, values: &[&str]) -> Bytes {
    let records: Vec<_> = values
        .iter()
        .zip(0..)
        .map(|(value, place)| Record {
            transactional,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(place),
            sequence: sequence.wrapping_add(place),
            timestamp: 1_700_000_000_000,
            key: None,
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: std::iter::empty().collect(),
        })
        .collect();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    let mut batch = BytesMut::new();
    RecordBatchEncoder::encode(&mut batch, &records, &options).expect("a batch");
    batch.freeze()
}

/// The records of a fetch's answer, control records included.
pub(crate) fn records(data: &PartitionData) -> Vec<Record> {
    let mut bytes = data.records.clone().unwrap_or_default();
    let sets = RecordBatchDecoder::decode_all(&mut bytes).expect("record batches");
    sets.into_iter().flat_map(|set| set.records).collect()
}

/// A topic's name, as the protocol wants it.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// A group's name, as the protocol wants it.
pub(crate) fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

/// A transactional id, as the protocol wants it.
pub(crate) fn transactional_id(name: &str) -> TransactionalId {
    TransactionalId(text(name))
}

/// Any text, as the protocol wants it.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
