use std::time::Instant;

use bytes::BytesMut;
use kafka_protocol::messages::GroupId;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::*;
use crate::group::Limits;

const EVENTS: &str = "events";

fn now() -> Now {
    Now {
        instant: Instant::now(),
        wall: Timestamp(1_700_000_000_000),
    }
}

fn topic(name: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(name))
}

fn group(name: &'static str) -> GroupId {
    GroupId(StrBytes::from_static_str(name))
}

/// What a client reads that speaks this version.
fn through<T: Encodable + Decodable>(message: &T, version: i16) -> T {
    let mut frame = BytesMut::new();
    message
        .encode(&mut frame, version)
        .expect("only fields that the version has");
    T::decode(&mut frame.freeze(), version).expect("decodes")
}

/// A simple consumer's commit of offset 10 for partition 0, 11 for 1, 12 for 2.
fn three() -> OffsetCommitRequest {
    let partitions = (0..3)
        .map(|partition| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(10 + i64::from(partition))
                .with_committed_leader_epoch(4)
                .with_committed_metadata(Some(StrBytes::from_static_str("mine")))
        })
        .collect();
    let events = OffsetCommitRequestTopic::default()
        .with_name(topic(EVENTS))
        .with_partitions(partitions);
    OffsetCommitRequest::default()
        .with_group_id(group("readers"))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![events])
}

fn commit_codes(groups: &mut Groups, request: &OffsetCommitRequest, known: &[bool]) -> Vec<i16> {
    let response = commit(groups, request, known, now(), &mut |_| Ok(()));
    let codes = |version| -> Vec<i16> {
        let topics = through(&response, version).topics;
        topics[0]
            .partitions
            .iter()
            .map(|partition| partition.error_code)
            .collect()
    };
    for version in 2..=9 {
        assert_eq!(codes(version), codes(2));
    }
    codes(2)
}

fn committed() -> Groups {
    let mut groups = Groups::new(Limits::default(), 1);
    assert_eq!(
        commit_codes(&mut groups, &three(), &[true, false, true]),
        [0, 3, 0]
    );
    groups
}

#[test]
fn a_partition_that_does_not_exist_is_refused_and_the_others_committed() {
    let groups = committed();
    let partitions: Vec<i32> = groups
        .committed_partitions("readers")
        .map(|at| at.partition)
        .collect();
    assert_eq!(partitions, [0, 2]);
}

#[test]
fn a_commit_that_is_refused_is_refused_for_each_partition() {
    let mut groups = committed();
    let of_member = three().with_generation_id_or_member_epoch(3);
    assert_eq!(
        commit_codes(&mut groups, &of_member, &[true, false, true]),
        [25, 3, 25]
    );
    let unknown = three()
        .with_group_id(group("nobody"))
        .with_generation_id_or_member_epoch(3);
    assert_eq!(
        commit_codes(&mut groups, &unknown, &[true; 3]),
        [22, 22, 22]
    );
}

#[test]
fn one_group_is_fetched_in_the_old_versions() {
    let groups = committed();
    for version in 1..=7 {
        let wanted = OffsetFetchRequestTopic::default()
            .with_name(topic(EVENTS))
            .with_partition_indexes(vec![2, 1, 2]);
        let request = OffsetFetchRequest::default()
            .with_group_id(group("readers"))
            .with_topics(Some(vec![wanted]));
        let response = through(&fetch(&groups, request, version), version);
        let found: Vec<_> = (response.topics[0].partitions.iter())
            .map(|found| {
                (
                    found.partition_index,
                    found.committed_offset,
                    found.error_code,
                )
            })
            .collect();
        assert_eq!(
            found,
            [(2, 12, 0), (1, -1, 0)],
            "what is asked for twice is answered once"
        );
        let first = &response.topics[0].partitions[0];
        assert_eq!(
            first.committed_leader_epoch,
            if version >= 5 { 4 } else { -1 }
        );
        assert_eq!(first.metadata.as_deref(), Some("mine"));
    }
}

#[test]
fn all_offsets_are_fetched_where_no_topic_is_named() {
    let groups = committed();
    for version in 2..=7 {
        let request = OffsetFetchRequest::default()
            .with_group_id(group("readers"))
            .with_topics(None);
        let response = through(&fetch(&groups, request, version), version);
        let found: Vec<i32> = response.topics[0]
            .partitions
            .iter()
            .map(|found| found.partition_index)
            .collect();
        assert_eq!(found, [0, 2]);
    }
}

#[test]
fn several_groups_are_fetched_in_the_new_versions() {
    let groups = committed();
    for version in 8..=9 {
        let wanted = OffsetFetchRequestTopics::default()
            .with_name(topic(EVENTS))
            .with_partition_indexes(vec![0, 1]);
        let readers = OffsetFetchRequestGroup::default()
            .with_group_id(group("readers"))
            .with_topics(Some(vec![wanted]));
        let nobody = OffsetFetchRequestGroup::default()
            .with_group_id(group("nobody"))
            .with_topics(None);
        let request = OffsetFetchRequest::default().with_groups(vec![readers, nobody]);
        let response = through(&fetch(&groups, request, version), version);
        let offsets: Vec<i64> = (response.groups[0].topics[0].partitions.iter())
            .map(|found| found.committed_offset)
            .collect();
        assert_eq!(offsets, [10, -1]);
        assert_eq!(
            (
                response.groups[1].error_code,
                response.groups[1].topics.len()
            ),
            (0, 0)
        );
    }
}

#[test]
fn who_wants_stable_offsets_is_told_of_an_open_transaction() {
    let mut groups = committed();
    groups.set_pending(
        "readers",
        &partition_of(&StrBytes::from_static_str(EVENTS), 0),
        9,
    );
    let request = |stable| {
        OffsetFetchRequest::default()
            .with_group_id(group("readers"))
            .with_topics(None)
            .with_require_stable(stable)
    };
    let found = |stable| -> Vec<(i64, i16)> {
        let response = through(&fetch(&groups, request(stable), 7), 7);
        (response.topics[0].partitions.iter())
            .map(|found| (found.committed_offset, found.error_code))
            .collect()
    };
    assert_eq!(found(true), [(-1, 88), (12, 0)]);
    assert_eq!(found(false), [(10, 0), (12, 0)]);
}

#[test]
fn each_offset_to_delete_has_its_own_answer() {
    let mut groups = committed();
    let partitions = (0..2)
        .map(|partition| OffsetDeleteRequestPartition::default().with_partition_index(partition))
        .collect();
    let events = OffsetDeleteRequestTopic::default()
        .with_name(topic(EVENTS))
        .with_partitions(partitions);
    let request = OffsetDeleteRequest::default()
        .with_group_id(group("readers"))
        .with_topics(vec![events]);
    let response = delete(
        &mut groups,
        &request,
        &[true, false],
        now(),
        &mut |_| Ok(()),
    );
    let response = through(&response, 0);
    let codes: Vec<i16> = response.topics[0]
        .partitions
        .iter()
        .map(|partition| partition.error_code)
        .collect();
    assert_eq!((response.error_code, codes), (0, vec![0, 3]));
    assert_eq!(groups.committed_partitions("readers").count(), 1);
    let nobody = request.with_group_id(group("nobody"));
    let response = delete(&mut groups, &nobody, &[true, false], now(), &mut |_| Ok(()));
    assert_eq!((response.error_code, response.topics.len()), (69, 0));
}
