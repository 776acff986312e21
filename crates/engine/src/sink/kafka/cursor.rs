//! Marks in the private group: how far each source partition has been sent, or which epoch.
//!
//! A mark's metadata names the lineage of checkpoints it belongs to; a mark of another lineage
//! counts as none.

use std::collections::BTreeMap;

use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as NativeOffset, TopicPartitionList};

use super::transactions::Count;
use super::{CursorPlace, CursorSource};
use crate::sink::SinkError;
use crate::units::{Epoch, Offset, Partition, SourceId};

/// Most bytes of metadata a broker stores beside an offset (`offset.metadata.max.bytes`).
const METADATA_BYTES: usize = 4_096;

/// Next offsets by source and partition.
pub(super) type Cursor = BTreeMap<(SourceId, Partition), Offset>;

/// Why a cursor cannot be written down.
#[derive(Debug, thiserror::Error)]
pub(super) enum CursorError {
    #[error("{0}")]
    Kafka(#[from] KafkaError),
    #[error(
        "source {0} has more partitions than fit into the {METADATA_BYTES} bytes a broker keeps \
         beside an offset"
    )]
    TooManyPartitions(SourceId),
}

/// The offsets to ask the group for. `partitions` counts those of a topic.
pub(super) fn request(
    places: &[CursorSource],
    output_topic: &str,
    partitions: Count<'_>,
) -> Result<TopicPartitionList, SinkError> {
    let mut list = TopicPartitionList::new();
    for place in places {
        match &place.place {
            CursorPlace::Topic(topic) => {
                for partition in 0..partitions(topic)? {
                    list.add_partition(topic, partition as i32);
                }
            }
            CursorPlace::Note(_) => {
                list.add_partition(output_topic, 0);
            }
        }
    }
    Ok(list)
}

/// Reads the group's answer.
pub(super) fn read(
    places: &[CursorSource],
    output_topic: &str,
    lineage: &str,
    committed: &TopicPartitionList,
) -> Cursor {
    let mut cursor = Cursor::new();
    for place in places {
        match &place.place {
            CursorPlace::Topic(topic) => {
                for element in committed.elements_for_topic(topic) {
                    let partition = Partition(element.partition());
                    if let NativeOffset::Offset(next) = element.offset()
                        && element.metadata() == place.lineage_of(partition, lineage)
                    {
                        cursor.insert((place.source, partition), Offset(next));
                    }
                }
            }
            CursorPlace::Note(name) => {
                let Some(element) = committed.find_partition(output_topic, 0) else {
                    continue;
                };
                for (partition, next, own) in read_note(element.metadata(), lineage, name) {
                    if own == place.renewed.get(&partition).map(String::as_str) {
                        cursor.insert((place.source, partition), next);
                    }
                }
            }
        }
    }
    cursor
}

/// Writes the cursor as offsets for the transaction. `changed` are the entries that moved since
/// the last commit; notes are written whole.
pub(super) fn write(
    places: &[CursorSource],
    output_topic: &str,
    lineage: &str,
    cursor: &Cursor,
    changed: &Cursor,
) -> Result<TopicPartitionList, CursorError> {
    let mut list = TopicPartitionList::new();
    let mut note = String::new();
    for place in places {
        match &place.place {
            CursorPlace::Topic(topic) => {
                for ((_, partition), next) in of(changed, place.source) {
                    let mut element = list.add_partition(topic, partition.0);
                    element.set_offset(NativeOffset::Offset(next.0))?;
                    element.set_metadata(place.lineage_of(*partition, lineage));
                }
            }
            CursorPlace::Note(name) => {
                use std::fmt::Write;
                let _infallible = write!(note, "\n{name}");
                for ((_, partition), next) in of(cursor, place.source) {
                    let _infallible = write!(note, " {partition}:{next}");
                    if let Some(own) = place.renewed.get(partition) {
                        let _infallible = write!(note, ":{own}");
                    }
                }
                if lineage.len() + note.len() > METADATA_BYTES {
                    return Err(CursorError::TooManyPartitions(place.source));
                }
            }
        }
    }
    if !note.is_empty() {
        let mut element = list.add_partition(output_topic, 0);
        element.set_offset(NativeOffset::Offset(0))?;
        element.set_metadata(format!("{lineage}{note}"));
    }
    Ok(list)
}

fn of(
    cursor: &Cursor,
    source: SourceId,
) -> impl Iterator<Item = (&(SourceId, Partition), &Offset)> {
    cursor.range((source, Partition(i32::MIN))..=(source, Partition(i32::MAX)))
}

/// Entries of the source `name` in a note, those of renewed partitions with their own lineage: the
/// lineage of all others, then a line a source.
fn read_note<'a>(
    note: &'a str,
    lineage: &str,
    name: &str,
) -> Vec<(Partition, Offset, Option<&'a str>)> {
    let mut lines = note.lines();
    if lines.next() != Some(lineage) {
        return Vec::new();
    }
    let entry = |text: &'a str| {
        let mut parts = text.splitn(3, ':');
        let partition = Partition(parts.next()?.parse().ok()?);
        let next = Offset(parts.next()?.parse().ok()?);
        Some((partition, next, parts.next()))
    };
    lines
        .filter_map(|line| line.split_once(' '))
        .filter(|(source, _)| *source == name)
        .flat_map(|(_, entries)| entries.split(' ').filter_map(entry))
        .collect()
}

/// The offset that says which epoch was sent last.
pub(super) fn stamp(
    output_topic: &str,
    lineage: &str,
    epoch: Epoch,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(output_topic, 0);
    element.set_offset(NativeOffset::Offset(
        i64::try_from(epoch.0).unwrap_or(i64::MAX),
    ))?;
    element.set_metadata(lineage);
    Ok(list)
}

/// Reads a stamp back.
pub(super) fn read_stamp(
    output_topic: &str,
    lineage: &str,
    committed: &TopicPartitionList,
) -> Option<Epoch> {
    let element = committed.find_partition(output_topic, 0)?;
    match element.offset() {
        NativeOffset::Offset(epoch) if element.metadata() == lineage => {
            u64::try_from(epoch).ok().map(Epoch)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(source: usize, place: CursorPlace) -> CursorSource {
        CursorSource {
            source: SourceId(source),
            place,
            renewed: BTreeMap::new(),
        }
    }

    fn cursor(entries: &[(usize, i32, i64)]) -> Cursor {
        entries
            .iter()
            .map(|&(s, p, o)| ((SourceId(s), Partition(p)), Offset(o)))
            .collect()
    }

    #[test]
    fn a_cursor_is_read_back_as_it_was_written_whatever_its_places() {
        let places = [
            place(0, CursorPlace::Topic("events".to_owned())),
            place(1, CursorPlace::Note("files".to_owned())),
            place(2, CursorPlace::Note("more".to_owned())),
        ];
        let all = cursor(&[
            (0, 0, 5),
            (0, 2, 9),
            (1, 0, 1),
            (1, 7, 1_000_000),
            (2, 3, 4),
        ]);
        let list = write(&places, "out", "lineage", &all, &all).expect("it fits");
        assert_eq!(read(&places, "out", "lineage", &list), all);
    }

    #[test]
    fn a_cursor_of_another_lineage_counts_as_none() {
        let places = [
            place(0, CursorPlace::Topic("events".to_owned())),
            place(1, CursorPlace::Note("files".to_owned())),
        ];
        let all = cursor(&[(0, 0, 5), (1, 0, 1)]);
        let list = write(&places, "out", "old", &all, &all).expect("it fits");
        assert!(read(&places, "out", "new", &list).is_empty());
        let stamped = stamp("out", "old", Epoch(4)).expect("a stamp");
        assert_eq!(read_stamp("out", "old", &stamped), Some(Epoch(4)));
        assert_eq!(read_stamp("out", "new", &stamped), None);
    }

    #[test]
    fn a_partition_made_anew_keeps_nothing_of_its_cursor_and_the_others_keep_theirs() {
        for place_of in [
            CursorPlace::Topic("events".to_owned()),
            CursorPlace::Note("files".to_owned()),
        ] {
            let before = [place(0, place_of.clone())];
            let all = cursor(&[(0, 0, 50), (0, 1, 60)]);
            let list = write(&before, "out", "lineage", &all, &all).expect("it fits");

            let mut after = before.clone();
            after[0].renewed.insert(Partition(1), "newer".to_owned());
            let found = read(&after, "out", "lineage", &list);
            assert_eq!(found, cursor(&[(0, 0, 50)]), "{place_of:?}");

            let grown = cursor(&[(0, 0, 55), (0, 1, 3)]);
            let list = write(&after, "out", "lineage", &grown, &grown).expect("it fits");
            assert_eq!(read(&after, "out", "lineage", &list), grown, "{place_of:?}");
            let old = read(&before, "out", "lineage", &list);
            assert_eq!(old, cursor(&[(0, 0, 55)]), "{place_of:?}");
        }
    }

    #[test]
    fn a_cursor_that_does_not_fit_is_refused() {
        let places = [place(1, CursorPlace::Note("files".to_owned()))];
        let all: Cursor = (0..1_000)
            .map(|p| ((SourceId(1), Partition(p)), Offset(1_000_000)))
            .collect();
        let written = write(&places, "out", "l", &all, &all);
        assert!(matches!(written, Err(CursorError::TooManyPartitions(_))));
    }
}
