//! What is done with all partitions from time to time. It waits for the disk, under no lock that a request
//! takes.

use std::sync::Arc;

use super::{Partition, Topic, Topics};
use crate::units::Now;

impl Topics {
    /// Removes records that retention no longer keeps, and producers silent for `expiry_ms`. Waits for
    /// the disk, and keeps nobody else waiting.
    pub(crate) fn retain(&self, now: Now, expiry_ms: i64) {
        for (topic, number, partition) in self.all_partitions() {
            if let Err(error) = partition.retain(now, expiry_ms) {
                tracing::warn!(topic = &*topic.name, partition = number, %error, "old records stay, trying again later");
            }
        }
    }

    /// Brings full segments to the disk, in the same way.
    pub(crate) fn settle(&self) {
        for (_, _, partition) in self.all_partitions() {
            partition.settle();
        }
    }

    fn all_partitions(&self) -> impl Iterator<Item = (Arc<Topic>, usize, Arc<Partition>)> {
        self.all().into_iter().flat_map(|topic| {
            let partitions = topic.partitions().into_iter().enumerate();
            partitions.map(move |(number, partition)| (Arc::clone(&topic), number, partition))
        })
    }
}
