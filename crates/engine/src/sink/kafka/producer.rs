//! A transactional producer that sends a buffer of records and commits them with a mark, or sends
//! them all again: the buffer is the sink's until `commit` has returned.
//!
//! What can happen to a transaction, and what is done about it:
//!
//! - a call says "try again" (broker restarts, coordinator moves): the same call, until the limit;
//! - the transaction has to be aborted (a delivery failed): abort, begin anew, send all again;
//! - fenced: another instance has opened the same sink; nothing more can be sent, nor should it;
//! - refused (rights, sizes): stop with a hint;
//! - the client does not come back from a call: stop, see [`marks`](super::marks).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::SinkTarget;
use super::marks::{GivenUp, MarkThread};
use super::records::Records;
use super::transactions::{Marks, Opened, Transactions};
use crate::kafka::admin::{CONNECT_TIMEOUT, Topics};
use crate::kafka::{ClientEvents, Role, Verdict, classify, client_config, create_failed, explain};
use crate::sink::SinkError;

/// Longest time one commit may take, retries and replays included: a broker restart is shorter.
const COMMIT_LIMIT: Duration = Duration::from_secs(120);

/// Longest wait of a single call on the cluster.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Times a transaction's records are sent before the sink gives up.
const MOST_ATTEMPTS: u32 = 5;

/// Pause before a call is repeated or a transaction sent again; doubles up to a second.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Longest wait for an open transaction's abort when a sink is dropped.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);

/// Records larger than this are not sent, whatever the topic allows.
const LARGEST_RECORD: usize = 64 << 20;

/// Records handed to the client between two looks at its delivery reports.
const REPORTS_EVERY: usize = 1_000;

/// See the module.
pub(super) struct TransactionalProducer {
    target: SinkTarget,
    events: ClientEvents,
    /// Before the producer: its thread ends first, so that the producer ends here.
    marks: MarkThread,
    producer: Arc<BaseProducer<ClientEvents>>,
    max_record_bytes: usize,
    /// Where records go that are dead letters among the output's own.
    dead_letter_topic: Option<String>,
    in_transaction: bool,
    /// Records of the buffer that the open transaction has taken.
    sent: usize,
}

/// What to do about an error.
enum Next {
    /// Repeat the call.
    Retry(KafkaError),
    /// Abort and send everything again.
    Replay(KafkaError),
    /// Give up.
    Stop(SinkError),
}

impl TransactionalProducer {
    /// Connects, fences older instances, settles their open transaction, and reads the offsets of
    /// `marks` in the private group as they stand after that.
    pub(super) fn open(target: &SinkTarget, marks: Marks<'_>) -> Result<Opened, SinkError> {
        let (this, committed) = Self::connect(target, marks)?;
        Ok((Box::new(this), committed))
    }

    /// [`open`](Self::open), as what it is.
    pub(super) fn connect(
        target: &SinkTarget,
        marks: Marks<'_>,
    ) -> Result<(Self, TopicPartitionList), SinkError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let topics = Topics::new(&target.cluster)?;
        let count = |topic: &str| {
            let deadline = Instant::now() + CONNECT_TIMEOUT;
            let there_are = topics.partitions(topic, deadline)?;
            there_are.ok_or_else(|| SinkError::Misconfigured {
                attempted: format!("output '{}'", target.output),
                reason: format!(
                    "topic '{topic}' does not exist on {}",
                    target.cluster.brokers
                ),
                hint: "Create it with `floodmark topics create FILE`".to_owned(),
            })
        };
        count(&target.topic)?;
        let max_record_bytes = topics
            .max_message_bytes(&target.topic, deadline)
            .min(LARGEST_RECORD);
        let attempted = target.attempt("write to");
        let events = ClientEvents::default();
        let role = Role::Transactional {
            id: target.transactional_id(),
            max_message_bytes: max_record_bytes.max(1_000),
        };
        let producer: BaseProducer<ClientEvents> = client_config(&target.cluster, &role)
            .create_with_context(events.clone())
            .map_err(|error| create_failed(attempted.clone(), &error))?;
        let (marker, group) = private_group(target)?;
        let producer = Arc::new(producer);
        let mark_thread = MarkThread::start(&target.output, Arc::clone(&producer), group);
        let mark_thread = mark_thread.map_err(|error| SinkError::Failed {
            attempted,
            reason: format!("cannot start a thread: {error}"),
        })?;
        let mut this = Self {
            target: target.clone(),
            events,
            marks: mark_thread,
            producer,
            max_record_bytes,
            dead_letter_topic: None,
            in_transaction: false,
            sent: 0,
        };
        this.insist(
            Instant::now() + CONNECT_TIMEOUT * 2,
            "prepare transactions on",
            |this, timeout| this.producer.init_transactions(timeout),
        )?;
        let committed = this.read_marks(&marker, &marks(&count)?)?;
        Ok((this, committed))
    }

    /// [`Transactions::commit`] with a limit of its own.
    pub(super) fn commit_within(
        &mut self,
        limit: Duration,
        records: &Records,
        mark: &TopicPartitionList,
    ) -> Result<(), SinkError> {
        let deadline = Instant::now() + limit;
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let error = match self.try_commit(records, mark, deadline) {
                Ok(()) => break,
                Err(Next::Stop(error)) => return Err(error),
                // The limit is used up. Whether the commit went through is not known here; the next
                // instance learns it from the mark.
                Err(Next::Retry(error)) => return Err(self.explain("write to", &error)),
                Err(Next::Replay(error)) => error,
            };
            tracing::debug!(output = self.target.output, attempt, %error, "transaction aborted");
            self.target.retries.count_kafka();
            self.abort(deadline)?;
            if attempt >= MOST_ATTEMPTS || Instant::now() >= deadline {
                return Err(self.explain("write to", &error));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.in_transaction = false;
        self.sent = 0;
        Ok(())
    }

    fn try_commit(
        &mut self,
        records: &Records,
        mark: &TopicPartitionList,
        deadline: Instant,
    ) -> Result<(), Next> {
        self.send(records)?;
        self.drain(deadline)?;
        self.repeat(deadline, |this, timeout| {
            this.add_mark(mark, timeout, deadline)
        })?;
        self.repeat(deadline, |this, timeout| {
            let committed = this.producer.commit_transaction(timeout);
            committed.map_err(|error| this.judge(error))
        })
    }

    fn add_mark(
        &mut self,
        mark: &TopicPartitionList,
        timeout: Duration,
        deadline: Instant,
    ) -> Result<(), Next> {
        match self.marks.add(mark, timeout, deadline) {
            Ok(added) => added.map_err(|error| self.judge(error)),
            Err(GivenUp) => Err(Next::Stop(SinkError::Failed {
                attempted: self.target.attempt("write to"),
                reason: format!(
                    "the Kafka client waits without end for the coordinator of group '{}'. Check that every broker of the cluster can be reached from here, then start again: the run goes on from its last checkpoint",
                    self.target.group()
                ),
            })),
        }
    }

    fn send(&mut self, records: &Records) -> Result<(), Next> {
        if !self.in_transaction {
            self.producer
                .begin_transaction()
                .map_err(|error| self.judge(error))?;
            self.in_transaction = true;
            self.sent = 0;
        }
        while self.sent < records.len() {
            let view = records.get(self.sent);
            let topic = match &self.dead_letter_topic {
                Some(topic) if view.dead => topic,
                _ => &self.target.topic,
            };
            let mut record = BaseRecord::<[u8], [u8]>::to(topic);
            record.key = view.key;
            record.payload = view.value;
            record.headers = view.headers;
            match self.producer.send(record) {
                Ok(()) => self.sent += 1,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(self.judge(error)),
            }
            if self.sent.is_multiple_of(REPORTS_EVERY) {
                self.producer.poll(Duration::ZERO);
            }
        }
        Ok(())
    }

    /// Waits until every record is acknowledged. Committing before that works too, but then the
    /// client waits in steps of 100 ms.
    fn drain(&self, deadline: Instant) -> Result<(), Next> {
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            self.producer.poll(Duration::from_millis(1));
        }
        match self.events.log().take_delivery_error() {
            None => Ok(()),
            Some(code) => Err(self.judge(KafkaError::MessageProduction(code))),
        }
    }

    fn abort(&mut self, deadline: Instant) -> Result<(), SinkError> {
        if self.in_transaction {
            self.insist(deadline, "abort a transaction on", |this, timeout| {
                this.producer.poll(Duration::ZERO);
                this.producer.abort_transaction(timeout)
            })?;
        }
        // Reports of what was purged come now; they are about records that will be sent again.
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            self.producer.poll(Duration::from_millis(1));
        }
        let _about_the_aborted = self.events.log().take_delivery_error();
        self.in_transaction = false;
        self.sent = 0;
        Ok(())
    }

    /// Repeats a call while it says that it may be repeated.
    fn repeat(
        &mut self,
        deadline: Instant,
        mut call: impl FnMut(&mut Self, Duration) -> Result<(), Next>,
    ) -> Result<(), Next> {
        let mut pause = FIRST_PAUSE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match call(self, left.min(CALL_TIMEOUT)) {
                Err(Next::Retry(_)) if Instant::now() + pause < deadline => {
                    self.target.retries.count_kafka();
                    self.producer.poll(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Like [`repeat`](Self::repeat), for calls outside of a transaction.
    fn insist(
        &mut self,
        deadline: Instant,
        action: &str,
        call: impl Fn(&Self, Duration) -> KafkaResult<()>,
    ) -> Result<(), SinkError> {
        self.repeat(deadline, |this, timeout| {
            call(this, timeout).map_err(|error| this.judge(error))
        })
        .map_err(|next| match next {
            Next::Stop(error) => error,
            Next::Retry(error) | Next::Replay(error) => {
                self.producer.poll(Duration::ZERO);
                self.explain(action, &error)
            }
        })
    }

    fn judge(&self, error: KafkaError) -> Next {
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            return Next::Stop(match classify(code) {
                Verdict::Fenced => SinkError::Fenced {
                    attempted: self.target.attempt("write to"),
                },
                Verdict::Misconfigured(hint) => SinkError::Misconfigured {
                    attempted: self.target.attempt("write to"),
                    reason,
                    hint: hint.to_owned(),
                },
                _ => SinkError::Failed {
                    attempted: self.target.attempt("write to"),
                    reason,
                },
            });
        }
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        if matches!(classify(code), Verdict::Fenced | Verdict::Misconfigured(_)) {
            return Next::Stop(self.explain("write to", &error));
        }
        match &error {
            KafkaError::Transaction(native) if native.txn_requires_abort() => Next::Replay(error),
            KafkaError::Transaction(native) if native.is_retriable() => Next::Retry(error),
            KafkaError::Transaction(_) => Next::Stop(self.explain("write to", &error)),
            KafkaError::Flush(_) => Next::Retry(error),
            // A record that was not delivered has doomed its transaction.
            KafkaError::MessageProduction(_) => Next::Replay(error),
            _ if classify(code) == Verdict::Transient => Next::Retry(error),
            _ => Next::Stop(self.explain("write to", &error)),
        }
    }

    fn read_marks(
        &self,
        marker: &BaseConsumer<ClientEvents>,
        marks: &TopicPartitionList,
    ) -> Result<TopicPartitionList, SinkError> {
        if marks.count() == 0 {
            return Ok(TopicPartitionList::new());
        }
        let deadline = Instant::now() + CONNECT_TIMEOUT * 2;
        loop {
            let error = match marker.committed_offsets(marks.clone(), CALL_TIMEOUT) {
                Ok(committed) => match committed.elements().iter().find_map(|e| e.error().err()) {
                    None => return Ok(committed),
                    Some(error) => error,
                },
                Err(error) => error,
            };
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            if classify(code) != Verdict::Transient || Instant::now() >= deadline {
                return Err(self.explain("read the cursor of", &error));
            }
            std::thread::sleep(FIRST_PAUSE);
        }
    }

    fn explain(&self, action: &str, error: &KafkaError) -> SinkError {
        let attempted = self.target.attempt(action);
        explain(
            attempted,
            &self.target.cluster.brokers,
            error,
            self.events.log(),
        )
        .into()
    }
}

impl Transactions for TransactionalProducer {
    fn max_record_bytes(&self) -> usize {
        self.max_record_bytes
    }

    fn also_write(&mut self, topic: &str) -> Result<usize, SinkError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let limit = Topics::new(&self.target.cluster)?.max_message_bytes(topic, deadline);
        self.dead_letter_topic = Some(topic.to_owned());
        // The client sends nothing that is larger than the output's records may be.
        Ok(limit.min(self.max_record_bytes))
    }

    fn feed(&mut self, records: &Records) -> Result<(), SinkError> {
        match self.send(records) {
            Ok(()) | Err(Next::Retry(_) | Next::Replay(_)) => Ok(()),
            Err(Next::Stop(error)) => Err(error),
        }
    }

    fn commit(&mut self, records: &Records, mark: &TopicPartitionList) -> Result<(), SinkError> {
        self.commit_within(COMMIT_LIMIT, records, mark)
    }
}

/// A client that reads the marks, and the group whose offsets they are.
fn private_group(
    target: &SinkTarget,
) -> Result<(BaseConsumer<ClientEvents>, ConsumerGroupMetadata), SinkError> {
    let attempted = target.attempt("write to");
    let role = Role::GroupOffsets {
        group: target.group(),
    };
    let marker: BaseConsumer<ClientEvents> = client_config(&target.cluster, &role)
        .create_with_context(ClientEvents::default())
        .map_err(|error| create_failed(attempted.clone(), &error))?;
    let Some(group) = marker.group_metadata() else {
        return Err(SinkError::Failed {
            attempted,
            reason: "the client made no group".to_owned(),
        });
    };
    Ok((marker, group))
}

impl Drop for TransactionalProducer {
    fn drop(&mut self) {
        // An open transaction would hold back every reader of the topic until it times out.
        if self.in_transaction {
            let _best_effort = self.producer.abort_transaction(DROP_TIMEOUT);
        }
    }
}
