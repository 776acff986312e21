//! Many records into librdkafka's queue with one call.
//!
//! One call a record costs more than generating it; `rd_kafka_produce_batch` takes thousands under one
//! lock. It has no safe wrapper, so this module is one.
#![allow(
    unsafe_code,
    reason = "rd_kafka_produce_batch has no safe wrapper in rdkafka"
)]

use std::ffi::CString;
use std::ptr::{self, NonNull};

use anyhow::{Context, bail};
use floodmark_generator::Batch;
use rdkafka::bindings as ffi;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, NoCustomPartitioner, Producer, ProducerContext};
use rdkafka::types::{RDKafkaMessage, RDKafkaRespErr};

/// `RD_KAFKA_PARTITION_UA`, a macro that the bindings lack: the partitioner decides.
const PARTITION_BY_KEY: i32 = -1;

/// A producer bound to a topic.
///
/// Dropped in this order: the topic's handle by `drop`, then the producer it belongs to.
pub(super) struct BatchProducer<C: ProducerContext<NoCustomPartitioner, DeliveryOpaque = ()>> {
    topic: NonNull<ffi::rd_kafka_topic_t>,
    producer: BaseProducer<C>,
    /// Kept for its capacity; its pointers are valid during `go_on` only.
    messages: Vec<RDKafkaMessage>,
}

/// A batch on its way into the queue.
pub(super) struct Entering<'a> {
    batch: &'a Batch,
    done: usize,
}

/// How far a batch came.
#[derive(Debug)]
pub(super) enum Enqueued {
    /// All of it is in the queue.
    All,
    /// The queue is full; go on when there is room.
    QueueFull,
    /// The client takes no record like the next one.
    Refused(RDKafkaErrorCode),
}

impl<C: ProducerContext<NoCustomPartitioner, DeliveryOpaque = ()>> BatchProducer<C> {
    pub(super) fn new(producer: BaseProducer<C>, topic: &str) -> anyhow::Result<Self> {
        let name = CString::new(topic).context("a topic's name has no NUL")?;
        // SAFETY: the producer's native client lives as long as `producer`, `name` is a C string, and a
        // null configuration means the client's defaults for topics.
        let topic = unsafe {
            ffi::rd_kafka_topic_new(
                producer.client().native_ptr(),
                name.as_ptr(),
                ptr::null_mut(),
            )
        };
        let Some(topic) = NonNull::new(topic) else {
            bail!("the Kafka client refuses the topic's name");
        };
        Ok(Self {
            topic,
            producer,
            messages: Vec::new(),
        })
    }

    /// The producer, to poll and to flush.
    pub(super) fn client(&self) -> &BaseProducer<C> {
        &self.producer
    }
}

impl<'a> Entering<'a> {
    pub(super) fn new(batch: &'a Batch) -> Self {
        Self { batch, done: 0 }
    }

    /// Puts what is left of the batch into the queue, in order, until it is full.
    pub(super) fn go_on<C>(&mut self, producer: &mut BatchProducer<C>) -> Enqueued
    where
        C: ProducerContext<NoCustomPartitioner, DeliveryOpaque = ()>,
    {
        let left = self.batch.records().skip(self.done);
        producer.messages.clear();
        producer
            .messages
            .extend(left.map(|(key, value)| message(key, value)));
        let messages = &mut producer.messages;
        // SAFETY: the topic's handle is valid until `drop`. Each message points to a key and a value of
        // `self.batch`, which is borrowed for longer than the call; RD_KAFKA_MSG_F_COPY makes librdkafka
        // copy both before it returns and own neither. The count is the vector's length.
        unsafe {
            ffi::rd_kafka_produce_batch(
                producer.topic.as_ptr(),
                PARTITION_BY_KEY,
                ffi::RD_KAFKA_MSG_F_COPY,
                messages.as_mut_ptr(),
                messages.len() as i32,
            );
        }
        // A full queue stays full for the rest of the call, so what was taken is what stands before it.
        let failed = messages
            .iter()
            .position(|message| message.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
        let Some(at) = failed else {
            return Enqueued::All;
        };
        self.done += at;
        match messages[at].err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__QUEUE_FULL => Enqueued::QueueFull,
            error => Enqueued::Refused(error.into()),
        }
    }
}

/// A message that borrows its key and value; the caller sees to their lifetime. An empty value has a
/// pointer all the same: without one it would be a tombstone.
fn message(key: &[u8], value: &[u8]) -> RDKafkaMessage {
    RDKafkaMessage {
        err: RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: PARTITION_BY_KEY,
        payload: value.as_ptr().cast_mut().cast(),
        len: value.len(),
        key: key.as_ptr().cast_mut().cast(),
        key_len: key.len(),
        offset: 0,
        _private: ptr::null_mut(),
    }
}

impl<C: ProducerContext<NoCustomPartitioner, DeliveryOpaque = ()>> Drop for BatchProducer<C> {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, destroyed once, before the client it belongs to.
        unsafe { ffi::rd_kafka_topic_destroy(self.topic.as_ptr()) }
    }
}
