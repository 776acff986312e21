//! What a Kafka sink asks of a transactional producer; the real one is in [`producer`](super::producer).

use rdkafka::topic_partition_list::TopicPartitionList;

use super::SinkTarget;
use super::records::Records;
use crate::sink::SinkError;

/// One transaction at a time. The buffer of records is the sink's until `commit` has returned.
///
/// Whoever is opened under a transactional id fences everybody who was opened under it before:
/// their open transaction is settled, and all they try from then on fails.
pub trait Transactions: Send {
    /// Largest record the topic takes, in bytes.
    fn max_record_bytes(&self) -> usize;

    /// Sends dead letters among the records to `topic`, in the same transactions; returns the size
    /// to which they must be cut.
    fn also_write(&mut self, topic: &str) -> Result<usize, SinkError>;

    /// Hands records that have not been sent yet to the open transaction, and opens one if there is
    /// none. Whatever fails here comes up again in `commit`, which repairs it.
    fn feed(&mut self, records: &Records) -> Result<(), SinkError>;

    /// Sends what is left of `records` and commits them together with `mark`, all or nothing. After
    /// an error it is unknown whether they were committed; the mark tells the next instance.
    fn commit(&mut self, records: &Records, mark: &TopicPartitionList) -> Result<(), SinkError>;
}

/// A producer that has fenced its predecessors, and the marks as they stand after that.
pub type Opened = (Box<dyn Transactions>, TopicPartitionList);

/// Which marks to read. Is asked once predecessors are fenced, and given a way to count a topic's
/// partitions.
pub type Marks<'a> = &'a dyn Fn(Count<'_>) -> Result<TopicPartitionList, SinkError>;

/// Counts a topic's partitions.
pub type Count<'a> = &'a dyn Fn(&str) -> Result<usize, SinkError>;

/// Opens a producer for a target, then reads the marks.
pub type Connect<'a> = &'a mut dyn FnMut(&SinkTarget, Marks<'_>) -> Result<Opened, SinkError>;
