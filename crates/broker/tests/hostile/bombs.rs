//! Requests that are valid and ask for much.

use std::time::{Duration, Instant};

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, GroupId, IncrementalAlterConfigsRequest,
    OffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::site::{Site, topic};
use super::wire::offered;

/// `INVALID_PARTITIONS`.
const INVALID_PARTITIONS: i16 = 37;

/// Longest that one request may keep a thread of the broker.
const LONGEST: Duration = Duration::from_secs(2);

#[test]
fn requests_about_the_same_thing_many_times_are_answered_in_bounds() {
    let site = Site::new();
    site.make_topic("wide", 1_000);
    commit_offsets(&site, 500);
    let mut apis = offered(&site);
    // The others are about what these take away.
    apis.sort_by_key(|api| matches!(api.name(), "DeleteTopics" | "DeleteGroups"));
    for api in apis {
        for large in api.large(30_000) {
            let before = site.taken();
            let begin = Instant::now();
            let mut client = site.client();
            client.send(&large).expect("it is sent");
            client.finish();
            let answer = client.receive().map_or(0, |answer| answer.len());
            let took = begin.elapsed();
            let taken = site.taken().saturating_sub(before);
            if took > LONGEST / 4 || taken > 8 {
                let sent = large.len();
                println!(
                    "{} {api:?}: {sent} bytes, answer {answer}, {took:?}, {taken} MiB",
                    api.name()
                );
            }
            assert!(took < LONGEST, "{} {api:?} took {took:?}", api.name());
        }
    }
    site.stands(256);
}

/// Gives the group `wide` offsets of so many partitions.
fn commit_offsets(site: &Site, partitions: i32) {
    let partitions = (0..partitions)
        .map(|number| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(number)
                .with_committed_offset(1)
                .with_committed_metadata(Some(StrBytes::from_static_str("some words about it")))
        })
        .collect();
    let commit = OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("wide")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![
            OffsetCommitRequestTopic::default()
                .with_name(topic("wide"))
                .with_partitions(partitions),
        ]);
    let answer = site.client().call(&commit, 5).expect("it is answered");
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

#[test]
fn more_partitions_than_fit_are_refused() {
    let site = Site::new();
    for count in [i32::MAX, i32::MIN, 0, 1 << 20] {
        let create = CreateTopicsRequest::default()
            .with_topics(vec![
                CreatableTopic::default()
                    .with_name(topic("many"))
                    .with_num_partitions(count)
                    .with_replication_factor(1),
            ])
            .with_timeout_ms(1_000);
        let made = site.client().call(&create, 5).expect("it is answered");
        assert_eq!(made.topics[0].error_code, INVALID_PARTITIONS, "{count}");
        let grow = CreatePartitionsRequest::default()
            .with_topics(vec![
                CreatePartitionsTopic::default()
                    .with_name(topic("t"))
                    .with_count(count),
            ])
            .with_timeout_ms(1_000);
        let grown = site.client().call(&grow, 1).expect("it is answered");
        assert_eq!(grown.results[0].error_code, INVALID_PARTITIONS, "{count}");
    }
    site.stands(16);
}

#[test]
fn as_many_topics_as_there_may_be_are_made_and_shown_in_bounds() {
    let site = Site::new();
    let topics = (0..60_000)
        .map(|number| {
            CreatableTopic::default()
                .with_name(topic(&format!("topic-{number}")))
                .with_num_partitions(1)
                .with_replication_factor(1)
        })
        .collect();
    let create = CreateTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(1_000);
    let made = site.client().call(&create, 5).expect("it is answered");
    let refused = made.topics.iter().filter(|made| made.error_code != 0);
    assert!(refused.count() >= 10_000, "there is a limit");
    site.stands(512);
}

#[test]
fn long_lists_in_configurations_keep_no_thread() {
    let site = Site::new();
    let words: Vec<_> = (0..6_000).map(|number| number.to_string()).collect();
    let change = AlterableConfig::default()
        .with_name(StrBytes::from_static_str("cleanup.policy"))
        .with_config_operation(2)
        .with_value(Some(StrBytes::from_string(words.join(","))));
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![
        AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(StrBytes::from_static_str("t"))
            .with_configs(vec![change; 300]),
    ]);
    let begin = Instant::now();
    site.client().call(&request, 0).expect("it is answered");
    assert!(begin.elapsed() < LONGEST, "it took {:?}", begin.elapsed());
    site.stands(64);
}

#[test]
fn requests_in_any_order_leave_the_broker_standing() {
    let site = Site::new();
    let apis = offered(&site);
    let mut answered = 0;
    let mut sent = 0;
    for seed in 0..20 {
        for (place, api) in apis.iter().enumerate() {
            let mut client = site.client();
            client.waits(Duration::from_millis(20));
            client
                .send(&api.plausible(seed * 1_000 + place as u64))
                .expect("it is sent");
            answered += usize::from(client.receive().is_ok());
            sent += 1;
        }
    }
    // Some wait for others, as they should; acks=0 wants no answer.
    assert!(answered * 10 > sent * 8, "{answered} of {sent}");
    site.stands(128);
}
