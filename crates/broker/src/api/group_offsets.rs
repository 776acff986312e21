//! Offsets that groups commit, fetch and delete.

#![allow(
    clippy::needless_pass_by_value,
    reason = "all handlers have one signature: they are handed the request"
)]

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::groups::{code, text};
use crate::api::Context;
use crate::core::Core;
use crate::group::{Claim, Generation, GroupError, Groups, Keep};
use crate::journal::CommittedOffset;
use crate::sync::lock;
use crate::units::{Now, Offset, Timestamp, TopicPartition};

/// From this version of `OffsetFetch` on, one request asks for several groups.
const FETCH_MANY_SINCE: i16 = 8;
/// From this version of `OffsetFetch` on, leader epochs are answered.
const FETCH_EPOCH_SINCE: i16 = 5;
/// Stands for an offset, and for a leader epoch, that there is not.
const NONE: i32 = -1;

/// `OffsetCommit`, versions 2 to 9.
pub(crate) fn offset_commit(
    core: &Core,
    request: OffsetCommitRequest,
    context: &Context,
) -> OffsetCommitResponse {
    let named = (request.topics.iter()).flat_map(|topic| {
        topic
            .partitions
            .iter()
            .map(|partition| (&topic.name, partition.partition_index))
    });
    let known = known(core, named);
    let mut keep = core.keeper();
    commit(
        &mut lock(&core.groups),
        &request,
        &known,
        context.now,
        &mut keep,
    )
}

/// Which of the partitions exist. Asked once for a request, before groups are locked.
fn known<'a>(core: &Core, partitions: impl Iterator<Item = (&'a TopicName, i32)>) -> Vec<bool> {
    partitions
        .map(|(topic, partition)| core.topic_exists(topic, partition))
        .collect()
}

/// Answers each of many questions with the next of the answers, except where the partition is unknown.
fn next_code(
    known: &mut impl Iterator<Item = bool>,
    answers: &mut impl Iterator<Item = Result<(), GroupError>>,
) -> i16 {
    if known.next().unwrap_or(false) {
        code(answers.next().unwrap_or(Ok(())))
    } else {
        ResponseError::UnknownTopicOrPartition.code()
    }
}

fn commit(
    groups: &mut Groups,
    request: &OffsetCommitRequest,
    known: &[bool],
    now: Now,
    keep: Keep<'_>,
) -> OffsetCommitResponse {
    let claim = Claim {
        group: &request.group_id,
        member: &request.member_id,
        instance: request.group_instance_id.as_deref(),
        generation: Generation(request.generation_id_or_member_epoch),
    };
    let offsets: Vec<_> = (request.topics.iter())
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(move |partition| (topic, partition))
        })
        .zip(known)
        .filter(|(_, known)| **known)
        .map(|((topic, partition), _)| {
            let committed = CommittedOffset {
                offset: Offset(partition.committed_offset),
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition
                    .committed_metadata
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                at: now.wall,
            };
            (
                partition_of(&topic.name, partition.partition_index),
                committed,
            )
        })
        .collect();
    let count = offsets.len();
    let answers = match count {
        0 => Vec::new(),
        // A refusal is the answer for each of them.
        _ => (groups.commit(&claim, offsets, now, keep))
            .unwrap_or_else(|error| vec![Err(error); count]),
    };
    let (mut known, mut answers) = (known.iter().copied(), answers.into_iter());
    let topics = (request.topics.iter())
        .map(|topic| {
            let partitions = (topic.partitions.iter())
                .map(|partition| {
                    let error = next_code(&mut known, &mut answers);
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(error)
                })
                .collect();
            OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions)
        })
        .collect();
    OffsetCommitResponse::default().with_topics(topics)
}

/// `OffsetFetch`, versions 1 to 9.
pub(crate) fn offset_fetch(
    core: &Core,
    request: OffsetFetchRequest,
    context: &Context,
) -> OffsetFetchResponse {
    fetch(&lock(&core.groups), request, context.version)
}

fn fetch(groups: &Groups, request: OffsetFetchRequest, version: i16) -> OffsetFetchResponse {
    let stable = request.require_stable;
    let mut seen = Seen::new();
    if version < FETCH_MANY_SINCE {
        let wanted = request.topics.map(|topics| {
            (topics.into_iter())
                .map(|topic| (topic.name, topic.partition_indexes))
                .collect()
        });
        let topics = (offsets(groups, &request.group_id, wanted, stable, &mut seen).into_iter())
            .map(|(name, found)| {
                OffsetFetchResponseTopic::default()
                    .with_name(name)
                    .with_partitions(
                        found
                            .into_iter()
                            .map(|found| found.single(version))
                            .collect(),
                    )
            })
            .collect();
        return OffsetFetchResponse::default().with_topics(topics);
    }
    let answers = (request.groups.into_iter())
        .map(|group| {
            let wanted = group.topics.map(|topics| {
                (topics.into_iter())
                    .map(|topic| (topic.name, topic.partition_indexes))
                    .collect()
            });
            let topics = (offsets(groups, &group.group_id, wanted, stable, &mut seen).into_iter())
                .map(|(name, found)| {
                    OffsetFetchResponseTopics::default()
                        .with_name(name)
                        .with_partitions(found.into_iter().map(Found::batched).collect())
                })
                .collect();
            OffsetFetchResponseGroup::default()
                .with_group_id(group.group_id)
                .with_topics(topics)
        })
        .collect();
    OffsetFetchResponse::default().with_groups(answers)
}

/// What has been answered: a request that names a partition a thousand times gets it once, so that an
/// answer is never larger than what is stored.
type Seen = BTreeSet<(String, TopicPartition)>;

/// What was found for a partition.
struct Found {
    partition: i32,
    offset: Offset,
    leader_epoch: i32,
    metadata: String,
    error: i16,
}

/// A group's offsets for the partitions that are wanted, or for all that it has committed.
fn offsets(
    groups: &Groups,
    group: &str,
    wanted: Option<Vec<(TopicName, Vec<i32>)>>,
    require_stable: bool,
    seen: &mut Seen,
) -> Vec<(TopicName, Vec<Found>)> {
    let wanted = wanted.unwrap_or_else(|| {
        let mut all: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for at in groups.committed_partitions(group) {
            all.entry(&at.topic).or_default().push(at.partition);
        }
        let named =
            |(topic, partitions): (&str, _)| (TopicName(text(topic.to_owned())), partitions);
        all.into_iter().map(named).collect()
    });
    (wanted.into_iter())
        .map(|(name, partitions)| {
            let found = (partitions.into_iter())
                .map(|partition| partition_of(&name, partition))
                .filter(|at| seen.insert((group.to_owned(), at.clone())))
                .map(|at| find(groups, group, &at, require_stable))
                .collect();
            (name, found)
        })
        .collect()
}

fn find(groups: &Groups, group: &str, at: &TopicPartition, require_stable: bool) -> Found {
    let (committed, error) = match groups.committed(group, at, require_stable) {
        Ok(committed) => (committed.cloned(), Ok(())),
        Err(error) => (None, Err(error)),
    };
    let committed = committed.unwrap_or(CommittedOffset {
        offset: Offset(i64::from(NONE)),
        leader_epoch: NONE,
        metadata: String::new(),
        at: Timestamp(0),
    });
    Found {
        partition: at.partition,
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata,
        error: code(error),
    }
}

impl Found {
    fn single(self, version: i16) -> OffsetFetchResponsePartition {
        let leader_epoch = if version >= FETCH_EPOCH_SINCE {
            self.leader_epoch
        } else {
            NONE
        };
        OffsetFetchResponsePartition::default()
            .with_partition_index(self.partition)
            .with_committed_offset(self.offset.0)
            .with_committed_leader_epoch(leader_epoch)
            .with_metadata(Some(text(self.metadata)))
            .with_error_code(self.error)
    }

    fn batched(self) -> OffsetFetchResponsePartitions {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(self.partition)
            .with_committed_offset(self.offset.0)
            .with_committed_leader_epoch(self.leader_epoch)
            .with_metadata(Some(text(self.metadata)))
            .with_error_code(self.error)
    }
}

/// `OffsetDelete`, version 0.
pub(crate) fn offset_delete(
    core: &Core,
    request: OffsetDeleteRequest,
    context: &Context,
) -> OffsetDeleteResponse {
    let named = (request.topics.iter()).flat_map(|topic| {
        topic
            .partitions
            .iter()
            .map(|partition| (&topic.name, partition.partition_index))
    });
    let known = known(core, named);
    let mut keep = core.keeper();
    delete(
        &mut lock(&core.groups),
        &request,
        &known,
        context.now,
        &mut keep,
    )
}

fn delete(
    groups: &mut Groups,
    request: &OffsetDeleteRequest,
    known: &[bool],
    now: Now,
    keep: Keep<'_>,
) -> OffsetDeleteResponse {
    let partitions: Vec<TopicPartition> = (request.topics.iter())
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(move |partition| (topic, partition))
        })
        .zip(known)
        .filter(|(_, known)| **known)
        .map(|((topic, partition), _)| partition_of(&topic.name, partition.partition_index))
        .collect();
    let answers = match groups.delete_offsets(&request.group_id, &partitions, now, keep) {
        Ok(answers) => answers,
        Err(error) => return OffsetDeleteResponse::default().with_error_code(error.code()),
    };
    let (mut known, mut answers) = (known.iter().copied(), answers.into_iter());
    let topics = (request.topics.iter())
        .map(|topic| {
            let partitions = (topic.partitions.iter())
                .map(|partition| {
                    let error = next_code(&mut known, &mut answers);
                    OffsetDeleteResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(error)
                })
                .collect();
            OffsetDeleteResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions)
        })
        .collect();
    OffsetDeleteResponse::default().with_topics(topics)
}

fn partition_of(topic: &StrBytes, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: topic.to_string(),
        partition,
    }
}

#[cfg(test)]
mod tests;
