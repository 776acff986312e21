//! The one place that talks to librdkafka's C interface: partitions of a topic that are fetched
//! into one queue, and that queue emptied many messages a call.
//!
//! The safe wrapper hands out one message object at a time, which costs several times as much as
//! reading what is in it. Here a poll takes pointers to up to thousands of messages at once, lends
//! their bytes to a callback and gives the messages back.

#![allow(
    unsafe_code,
    reason = "the batch interface exists only in C; this module is audited as a whole"
)]

use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use crate::kafka::ClientEvents;
use crate::source::RawRecord;
use crate::units::{Offset, Partition};

/// Something about a partition that came through the queue in place of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    /// Partition; -1 when it is about the topic.
    pub(super) partition: Partition,
    /// Offset it is about, if any.
    pub(super) offset: Offset,
    /// What it is.
    pub(super) code: RDKafkaErrorCode,
    /// What the client says about it.
    pub(super) reason: String,
}

/// A consumer, a topic, and a queue into which the started partitions are fetched.
///
/// Invariants: `topic` and `queue` were made from `consumer`'s handle and live until `drop`;
/// `messages` and `records` are empty outside of [`FetchQueue::poll`].
pub(super) struct FetchQueue {
    topic: NonNull<sys::rd_kafka_topic_t>,
    queue: NonNull<sys::rd_kafka_queue_t>,
    started: Vec<Partition>,
    messages: Vec<*mut sys::rd_kafka_message_t>,
    records: Vec<RawRecord<'static>>,
    consumer: BaseConsumer<ClientEvents>,
}

// SAFETY: librdkafka's handles may be used from any thread (its introduction says so), and the
// vectors of pointers are empty whenever the value can be moved to another thread.
unsafe impl Send for FetchQueue {}

impl FetchQueue {
    /// Takes over `consumer`, which must have no `group.id`: otherwise its main queue would be
    /// forwarded and a group joined.
    pub(super) fn new(consumer: BaseConsumer<ClientEvents>, topic: &str) -> Option<Self> {
        let name = CString::new(topic).ok()?;
        let client = consumer.client().native_ptr();
        // SAFETY: `client` is a live handle, `name` a NUL-terminated string that librdkafka
        // copies; a null configuration means the client's defaults. Both results are checked.
        let (topic, queue) = unsafe {
            let topic = NonNull::new(sys::rd_kafka_topic_new(
                client,
                name.as_ptr(),
                std::ptr::null_mut(),
            ))?;
            let Some(queue) = NonNull::new(sys::rd_kafka_queue_new(client)) else {
                sys::rd_kafka_topic_destroy(topic.as_ptr());
                return None;
            };
            (topic, queue)
        };
        Some(Self {
            topic,
            queue,
            started: Vec::new(),
            messages: Vec::new(),
            records: Vec::new(),
            consumer,
        })
    }

    /// The consumer, for its context and queries.
    pub(super) fn consumer(&self) -> &BaseConsumer<ClientEvents> {
        &self.consumer
    }

    /// Starts fetching a partition at an offset.
    pub(super) fn start(
        &mut self,
        partition: Partition,
        next: Offset,
    ) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: topic and queue are live (type invariant).
        let status = unsafe {
            sys::rd_kafka_consume_start_queue(
                self.topic.as_ptr(),
                partition.0,
                next.0,
                self.queue.as_ptr(),
            )
        };
        if status == -1 {
            // SAFETY: reads a thread-local of librdkafka.
            return Err(unsafe { sys::rd_kafka_last_error() }.into());
        }
        self.started.push(partition);
        Ok(())
    }

    /// Stops fetching a partition. What was fetched and not polled is dropped.
    pub(super) fn stop(&mut self, partition: Partition) {
        if let Some(index) = self.started.iter().position(|p| *p == partition) {
            self.started.swap_remove(index);
            // SAFETY: the topic is live; the partition was started.
            unsafe { sys::rd_kafka_consume_stop(self.topic.as_ptr(), partition.0) };
        }
    }

    /// Waits up to `timeout` for the first message, then up to `gather` for more unless there are
    /// already `enough`, and lends the records among them, at most `max`, to `on_records`.
    /// Everything else is added to `notices`.
    pub(super) fn poll(
        &mut self,
        timeout: Duration,
        gather: Gather,
        max: usize,
        notices: &mut Vec<Notice>,
        on_records: &mut dyn FnMut(&[RawRecord<'_>]),
    ) {
        let taken = Taken(self);
        let queue = &mut *taken.0;
        queue.messages.reserve(max);
        queue.take(Duration::ZERO, max);
        if queue.messages.is_empty() {
            // The C call waits until it has as many as it was asked for: one, to begin with.
            queue.take(timeout, 1);
            queue.take(Duration::ZERO, max);
        }
        if !queue.messages.is_empty() && queue.messages.len() < gather.enough {
            queue.take(gather.wait, max);
        }
        queue.lend(notices);
        if !queue.records.is_empty() {
            on_records(&queue.records);
        }
    }

    /// Takes messages off the queue until there are `max` or `timeout` has passed.
    fn take(&mut self, timeout: Duration, max: usize) {
        let have = self.messages.len();
        let Some(room) = max.checked_sub(have).filter(|room| *room > 0) else {
            return;
        };
        self.messages.reserve(room);
        let timeout = timeout.as_millis().min(i32::MAX as u128) as i32;
        // SAFETY: the queue is live; the spare capacity behind `have` takes `room` pointers, and
        // the call writes at most that many and returns how many it has written (-1: none).
        unsafe {
            let spare = self.messages.as_mut_ptr().add(have);
            let count =
                sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), timeout, spare, room);
            self.messages
                .set_len(have + usize::try_from(count).unwrap_or(0));
        }
    }

    /// Fills `records` with views of the taken messages.
    fn lend(&mut self, notices: &mut Vec<Notice>) {
        self.records.reserve(self.messages.len());
        for &message in &self.messages {
            // SAFETY: the pointer came from the batch call and is valid until it is destroyed,
            // which `Taken` does after the callback has returned. The slices made here get a
            // 'static lifetime only to live in a vector that is reused; they are cleared before
            // the messages are destroyed, and the callback, being generic over the lifetime,
            // cannot keep one.
            unsafe {
                let message = &*message;
                if message.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
                    self.records.push(RawRecord {
                        partition: Partition(message.partition),
                        offset: Offset(message.offset),
                        timestamp_ms: sys::rd_kafka_message_timestamp(message, &raw mut kind),
                        key: bytes(message.key, message.key_len),
                        value: bytes(message.payload, message.len),
                    });
                } else {
                    notices.push(notice(message));
                }
            }
        }
    }

    /// Gives the taken messages back.
    fn give_back(&mut self) {
        self.records.clear();
        for message in self.messages.drain(..) {
            // SAFETY: each pointer came from the batch call and is destroyed once: it has just
            // been drained from the only place that holds it, and no view of it is left.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
    }
}

/// How long a poll that has something waits for more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gather {
    /// As many messages are worth being handed over without waiting.
    pub(super) enough: usize,
    /// Longest wait for that many.
    pub(super) wait: Duration,
}

/// Gives messages back when a poll ends, also by a panic of its callback.
struct Taken<'a>(&'a mut FetchQueue);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Drop for FetchQueue {
    fn drop(&mut self) {
        while let Some(partition) = self.started.last().copied() {
            self.stop(partition);
        }
        // SAFETY: made in `new`, destroyed once, before the consumer they belong to (fields are
        // dropped after this).
        unsafe {
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
            sys::rd_kafka_topic_destroy(self.topic.as_ptr());
        }
    }
}

/// Views a key or value; a null pointer is Kafka's null.
///
/// # Safety
/// Unless null, `start` must point to `len` bytes that outlive the view.
unsafe fn bytes(start: *const std::ffi::c_void, len: usize) -> Option<&'static [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) })
}

/// Reads a message that stands for an error or an end of partition.
///
/// # Safety
/// `message` must be a live message of librdkafka.
unsafe fn notice(message: &sys::rd_kafka_message_t) -> Notice {
    // SAFETY: the caller's promise; the text is NUL-terminated and belongs to the message.
    let reason = unsafe {
        let text = sys::rd_kafka_message_errstr(message);
        if text.is_null() {
            String::new()
        } else {
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    };
    Notice {
        partition: Partition(message.partition),
        offset: Offset(message.offset),
        code: message.err.into(),
        reason,
    }
}
