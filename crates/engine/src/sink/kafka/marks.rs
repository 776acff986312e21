//! Adds marks to the open transaction, on a thread of its own.
//!
//! The reason is a call that does not keep its time. `send_offsets_to_transaction` asks the
//! coordinator of transactions, then the coordinator of the group, and waits for a connection to the
//! second without end, whatever timeout it is given, while that broker cannot be reached
//! ([librdkafka #5456]), or has left the cluster and no other connection changes ([#5511]). On the
//! sink's thread that would be a pipeline that stands still and says nothing.
//!
//! So the call is made here, and the sink waits for it as long as it chooses. A call that has not
//! returned by then keeps its thread and the client, since neither can be taken from under it; they
//! end when it returns after all, or with the process. The client is lost to the sink, which must
//! not make itself another: that would fence whoever has taken over meanwhile. Only a start, which
//! claims the pipeline first, may do so.
//!
//! [librdkafka #5456]: https://github.com/confluentinc/librdkafka/issues/5456
//! [#5511]: https://github.com/confluentinc/librdkafka/issues/5511

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaResult;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::kafka::ClientEvents;

/// Calls, or answers, on their way: the sink sends the next call after the answer to the last.
const QUEUE: usize = 1;

/// How much later than asked for a call may come back that does keep its time.
const GRACE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct MarkThread {
    /// Nothing once a call was given up, for its answer would be taken for the next one's.
    link: Option<Link>,
}

struct Link {
    calls: SyncSender<Call>,
    answers: Receiver<KafkaResult<()>>,
    thread: JoinHandle<()>,
}

struct Call {
    mark: TopicPartitionList,
    timeout: Duration,
}

/// The call has not returned.
#[derive(Debug)]
pub(super) struct GivenUp;

impl MarkThread {
    /// Starts the thread. It shares the producer; `group` is whose offsets the marks are.
    pub(super) fn start(
        name: &str,
        producer: Arc<BaseProducer<ClientEvents>>,
        group: ConsumerGroupMetadata,
    ) -> io::Result<Self> {
        let (calls, to_do) = sync_channel::<Call>(QUEUE);
        let (done, answers) = sync_channel(QUEUE);
        let work = move || {
            while let Ok(Call { mark, timeout }) = to_do.recv() {
                let answer = producer.send_offsets_to_transaction(&mark, &group, timeout);
                if done.send(answer).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new()
            .name(format!("marks-{name}"))
            .spawn(work)?;
        let link = Some(Link {
            calls,
            answers,
            thread,
        });
        Ok(Self { link })
    }

    /// Adds `mark` to the open transaction. The client is asked to try for `timeout`; if it goes on
    /// for longer it is waited for until `deadline`, and given up then. After that every call is.
    pub(super) fn add(
        &mut self,
        mark: &TopicPartitionList,
        timeout: Duration,
        deadline: Instant,
    ) -> Result<KafkaResult<()>, GivenUp> {
        let link = self.link.take().ok_or(GivenUp)?;
        let mark = mark.clone();
        link.calls
            .send(Call { mark, timeout })
            .map_err(|_| GivenUp)?;
        let patience = deadline.saturating_duration_since(Instant::now()) + GRACE;
        let answer = link.answers.recv_timeout(patience).map_err(|_| GivenUp)?;
        self.link = Some(link);
        Ok(answer)
    }
}

impl Drop for MarkThread {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            drop(link.calls);
            // It has no call to make, so it ends at once; a panic in it has been told as no answer.
            let _ = link.thread.join();
        }
    }
}
