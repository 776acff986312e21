//! A simulated Kafka: topics whose records show when their transaction commits, private groups that
//! keep marks, producers that fence their predecessors.

use std::collections::BTreeMap;

use floodmark_engine::sink::SinkError;
use floodmark_engine::sink::kafka::{Marks, Opened, Records, SinkTarget, Transactions};
use rand::Rng;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::world::{InstanceId, Shared};

/// Records below this fit.
const MAX_RECORD_BYTES: usize = 1 << 20;

#[derive(Default)]
pub(super) struct Kafka {
    /// The epoch of each transactional id's newest producer.
    producers: BTreeMap<String, u64>,
    /// Offset and metadata by group, topic and partition.
    marks: BTreeMap<(String, String, i32), (i64, String)>,
}

/// A transactional producer of one instance.
struct Producer {
    world: Shared,
    instance: InstanceId,
    id: String,
    group: String,
    topic: String,
    epoch: u64,
}

/// Opens a producer: fences those before it, then reads the marks.
pub(super) fn open(
    world: &Shared,
    instance: InstanceId,
    target: &SinkTarget,
    marks: Marks<'_>,
) -> Result<Opened, SinkError> {
    let partitions = world.lock().observer.partitions();
    let marks = marks(&|_| Ok(partitions))?;
    let (id, group) = (target.transactional_id(), target.group());
    let mut guard = world.lock();
    if guard.is_fault() {
        return Err(failed("opening a producer"));
    }
    let epoch = guard.kafka.producers.entry(id.clone()).or_default();
    *epoch += 1;
    let epoch = *epoch;
    let wanted: Vec<(String, i32)> = marks
        .elements()
        .iter()
        .map(|element| (element.topic().to_owned(), element.partition()))
        .collect();
    for (topic, partition) in wanted {
        let key = (group.clone(), topic.clone(), partition);
        if let Some((offset, metadata)) = guard.kafka.marks.get(&key) {
            let mut element = marks.find_partition(&topic, partition).expect("just seen");
            let set = element.set_offset(Offset::Offset(*offset));
            set.expect("an offset that was committed");
            element.set_metadata(metadata.clone());
        }
    }
    guard.say(|| format!("i{} opens {id}, epoch {epoch}", instance.0));
    drop(guard);
    let producer = Producer {
        world: world.clone(),
        instance,
        id,
        group,
        topic: target.topic.clone(),
        epoch,
    };
    Ok((Box::new(producer), marks))
}

fn failed(attempted: &str) -> SinkError {
    SinkError::Failed {
        attempted: attempted.to_owned(),
        reason: "no answer in time".to_owned(),
    }
}

impl Transactions for Producer {
    fn max_record_bytes(&self) -> usize {
        MAX_RECORD_BYTES
    }

    fn also_write(&mut self, _: &str) -> Result<usize, SinkError> {
        Ok(MAX_RECORD_BYTES)
    }

    /// What was sent shows with the commit, or never: until then it changes nothing here.
    fn feed(&mut self, _: &Records) -> Result<(), SinkError> {
        Ok(())
    }

    fn commit(&mut self, records: &Records, mark: &TopicPartitionList) -> Result<(), SinkError> {
        let mut world = self.world.lock();
        let fenced = || SinkError::Fenced {
            attempted: format!("committing to {}", self.topic),
        };
        if world.kafka.producers[&self.id] != self.epoch {
            world.say(|| format!("i{} is fenced from {}", self.instance.0, self.id));
            return Err(fenced());
        }
        let fault = world.is_fault().then(|| world.rng.random_range(0..3));
        if fault == Some(0) {
            world.say(|| format!("i{} fails to commit to {}", self.instance.0, self.topic));
            return Err(failed("committing"));
        }
        if fault == Some(1) {
            // The transaction took too long: its coordinator has given up on the producer.
            *world.kafka.producers.get_mut(&self.id).expect("known") += 1;
            return Err(fenced());
        }
        let rows = records
            .values()
            .map(|value| row_of(value.expect("a value")));
        let rows: Vec<usize> = rows.collect();
        for element in mark.elements() {
            let Offset::Offset(offset) = element.offset() else {
                panic!("a mark without an offset")
            };
            let key = (
                self.group.clone(),
                element.topic().to_owned(),
                element.partition(),
            );
            let value = (offset, element.metadata().to_owned());
            world.kafka.marks.insert(key, value);
        }
        world.say(|| format!("i{} commits {rows:?} to {}", self.instance.0, self.topic));
        world.observer.records_visible(&self.topic, &rows);
        if fault == Some(2) {
            world.say(|| "… and does not hear of it".to_owned());
            return Err(failed("committing"));
        }
        Ok(())
    }
}

/// The row in a record: `{"row":17}`.
fn row_of(value: &[u8]) -> usize {
    let digits = value.iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |row, digit| row * 10 + usize::from(digit - b'0'))
}
