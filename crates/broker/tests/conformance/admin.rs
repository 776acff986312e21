//! Topics, configurations, records and groups, as an administrator handles them.

use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, DescribeClusterRequest, IncrementalAlterConfigsRequest,
};
use rdkafka::Offset;
use rdkafka::admin::{
    AdminOptions, AlterConfig, ConfigEntry, ConfigSource, NewPartitions, NewTopic,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};

use crate::support::{
    PATIENCE, admin, assigned, block_on, brokers, consumer, eventually, partition_count, patient,
    positions, read, read_from, texts, topic, topic_with, unique, wait_for_partitions, watermarks,
    write,
};
use crate::wire::{Wire, errors, text};

/// Asks for a topic; returns the error of this topic.
fn create(new: &NewTopic<'_>, options: &AdminOptions) -> Result<(), RDKafkaErrorCode> {
    let results = block_on(admin().create_topics([new], options)).expect("an answer");
    let result = results.into_iter().next().expect("this topic's");
    result.map(|_| ()).map_err(|(_, code)| code)
}

fn new_topic(name: &str, partitions: i32) -> NewTopic<'_> {
    NewTopic::new(name, partitions, TopicReplication::Fixed(1))
}

fn delete(name: &str) -> Result<(), RDKafkaErrorCode> {
    let results = block_on(admin().delete_topics(&[name], &patient())).expect("an answer");
    let result = results.into_iter().next().expect("this topic's");
    result.map(|_| ()).map_err(|(_, code)| code)
}

#[test]
fn topics_are_made_seen_and_deleted() {
    let name = topic("seen", 5);
    assert_eq!(partition_count(&name), Some(5));
    let everything = admin()
        .inner()
        .fetch_metadata(None, PATIENCE)
        .expect("metadata");
    assert!(everything.topics().iter().any(|t| t.name() == name));
    assert_eq!(delete(&name), Ok(()));
    eventually("the end of the topic", || {
        partition_count(&name).is_none().then_some(())
    });
    assert_eq!(
        delete(&name),
        Err(RDKafkaErrorCode::UnknownTopicOrPartition)
    );
}

#[test]
fn a_topic_that_cannot_be_is_refused_with_its_reason() {
    let existing = topic("existing", 1);
    let fresh = unique("fresh");
    let refusal = |new: &NewTopic<'_>| create(new, &patient()).expect_err("refused");
    assert_eq!(
        refusal(&new_topic(&existing, 1)),
        RDKafkaErrorCode::TopicAlreadyExists
    );
    let long = "x".repeat(250);
    for name in [".", "..", "a/b", "a b", "é", &long] {
        assert_eq!(
            refusal(&new_topic(name, 1)),
            RDKafkaErrorCode::InvalidTopic,
            "{name}"
        );
    }
    assert_eq!(
        refusal(&NewTopic::new(&fresh, 1, TopicReplication::Fixed(2))),
        RDKafkaErrorCode::InvalidReplicationFactor
    );
    assert_eq!(
        refusal(&new_topic(&fresh, 1).set("no.such.property", "1")),
        RDKafkaErrorCode::InvalidConfig
    );
    assert_eq!(
        refusal(&new_topic(&fresh, 1).set("retention.ms", "soon")),
        RDKafkaErrorCode::InvalidConfig
    );
    assert_eq!(partition_count(&fresh), None);
}

#[test]
fn names_that_may_be_are_accepted() {
    let long = unique(&"x".repeat(220));
    let odd = unique("Odd_name-with.all_1");
    for name in [&long, &odd] {
        assert_eq!(create(&new_topic(name, 1), &patient()), Ok(()));
        wait_for_partitions(name, 1);
        assert_eq!(delete(name), Ok(()));
    }
}

#[test]
fn a_topic_whose_creator_leaves_the_number_to_the_broker_has_three_partitions() {
    let name = unique("default");
    let new = NewTopic::new(&name, -1, TopicReplication::Fixed(-1));
    assert_eq!(create(&new, &patient()), Ok(()));
    wait_for_partitions(&name, 3);
}

#[test]
fn validating_makes_nothing() {
    let name = unique("validated");
    let options = patient().validate_only(true);
    assert_eq!(create(&new_topic(&name, 1), &options), Ok(()));
    assert_eq!(partition_count(&name), None);
    assert_eq!(create(&new_topic(&name, 1), &patient()), Ok(()));
}

#[test]
fn a_topic_grows_and_keeps_what_it_has() {
    let name = topic("grows", 2);
    write(&name, 1, &["a"]);
    let grow = |name: &str, partitions| {
        let new = NewPartitions::new(name, partitions);
        let results = block_on(admin().create_partitions([&new], &patient())).expect("an answer");
        results
            .into_iter()
            .next()
            .expect("this topic's")
            .map(|_| ())
    };
    assert_eq!(grow(&name, 4), Ok(()));
    wait_for_partitions(&name, 4);
    write(&name, 3, &["b"]);
    let mut values = texts(&read(&name, &[]));
    values.sort();
    assert_eq!(values, ["a", "b"]);
    for partitions in [4, 1] {
        let error = grow(&name, partitions).expect_err("refused");
        assert_eq!(error.1, RDKafkaErrorCode::InvalidPartitions);
    }
    let error = grow(&unique("unknown"), 4).expect_err("refused");
    assert_eq!(error.1, RDKafkaErrorCode::UnknownTopicOrPartition);
}

#[test]
fn a_topic_that_is_made_again_is_another_one() {
    let name = topic("again", 1);
    write(&name, 0, &["old"]);
    assert_eq!(delete(&name), Ok(()));
    eventually("the end of the topic", || {
        partition_count(&name).is_none().then_some(())
    });
    assert_eq!(create(&new_topic(&name, 1), &patient()), Ok(()));
    wait_for_partitions(&name, 1);
    assert_eq!(write(&name, 0, &["new"]), [0]);
    assert_eq!(texts(&read(&name, &[])), ["new"]);
}

fn describe(name: &str) -> KafkaResult<Vec<ConfigEntry>> {
    let topic = ResourceSpecifier::Topic(name);
    let results = block_on(admin().describe_configs([&topic], &patient()))?;
    let resource = results.into_iter().next().expect("this topic's");
    Ok(resource.expect("its configuration").entries)
}

fn property(name: &str, property: &str) -> ConfigEntry {
    let entries = describe(name).expect("a configuration");
    let found = entries.into_iter().find(|e| e.name == property);
    found.unwrap_or_else(|| panic!("{name} has no {property}"))
}

#[test]
fn a_topic_says_how_it_is_configured() {
    let name = topic_with("configured", 1, &[("retention.ms", "12345678")]);
    let set = eventually("the configuration", || {
        let entry = property(&name, "retention.ms");
        (entry.value.as_deref() == Some("12345678")).then_some(entry)
    });
    assert_eq!(set.source, ConfigSource::DynamicTopic);
    assert!(!set.is_default && !set.is_read_only && !set.is_sensitive);
    for (default, value) in [
        ("max.message.bytes", "1048588"),
        ("cleanup.policy", "delete"),
        ("compression.type", "producer"),
        ("message.timestamp.type", "CreateTime"),
        ("min.insync.replicas", "1"),
        ("retention.bytes", "-1"),
    ] {
        let entry = property(&name, default);
        assert_eq!(entry.value.as_deref(), Some(value), "{default}");
        assert_ne!(entry.source, ConfigSource::DynamicTopic, "{default}");
    }
}

#[test]
fn a_configuration_is_altered_as_a_whole_or_one_by_one() {
    let name = topic_with("altered", 1, &[("retention.ms", "1000000")]);
    let whole = AlterConfig::new(ResourceSpecifier::Topic(&name))
        .set("max.message.bytes", "2000000")
        .set("retention.bytes", "5000000");
    let results = block_on(admin().alter_configs([&whole], &patient())).expect("an answer");
    assert!(results[0].is_ok());
    eventually("the new configuration", || {
        let value = |name_of| property(&name, name_of).value;
        let altered = value("max.message.bytes").as_deref() == Some("2000000")
            && value("retention.bytes").as_deref() == Some("5000000")
            // What is not mentioned goes back to its default.
            && property(&name, "retention.ms").source != ConfigSource::DynamicTopic;
        altered.then_some(())
    });

    let mut wire = Wire::connect();
    // 0 sets, 1 deletes.
    assert_eq!(
        alter_one(&mut wire, &name, "retention.ms", 0, Some("7777777")),
        errors::NONE
    );
    assert_eq!(
        alter_one(&mut wire, &name, "retention.bytes", 1, None),
        errors::NONE
    );
    eventually("the new configuration", || {
        let value = |name_of| property(&name, name_of).value;
        let altered = value("retention.ms").as_deref() == Some("7777777")
            && value("retention.bytes").as_deref() == Some("-1")
            && value("max.message.bytes").as_deref() == Some("2000000");
        altered.then_some(())
    });
    for (property, value) in [("no.such.property", "1"), ("retention.ms", "soon")] {
        assert_eq!(
            alter_one(&mut wire, &name, property, 0, Some(value)),
            errors::INVALID_CONFIG
        );
    }
    assert_eq!(
        alter_one(&mut wire, &unique("unknown"), "retention.ms", 0, Some("1")),
        errors::UNKNOWN_TOPIC_OR_PARTITION
    );
}

fn alter_one(
    wire: &mut Wire,
    topic: &str,
    property: &str,
    operation: i8,
    value: Option<&str>,
) -> i16 {
    let config = AlterableConfig::default()
        .with_name(text(property))
        .with_config_operation(operation)
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(topic))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    wire.call(&request, 1).responses[0].error_code
}

#[test]
fn records_are_deleted_up_to_an_offset() {
    let name = topic("deleted", 1);
    write(&name, 0, &["a", "b", "c", "d", "e"]);
    let delete = |offset| {
        let list = positions(&name, &[(0, offset)]);
        let result = block_on(admin().delete_records(&list, &patient())).expect("an answer");
        let element = &result.elements()[0];
        element.error().map(|()| element.offset())
    };
    assert_eq!(delete(Offset::Offset(2)).ok(), Some(Offset::Offset(2)));
    assert_eq!(watermarks(&name, 0), (2, 5));
    assert_eq!(texts(&read(&name, &[])), ["c", "d", "e"]);
    // What is gone already is no error, what is yet to come is one.
    assert_eq!(delete(Offset::Offset(1)).ok(), Some(Offset::Offset(2)));
    let error = delete(Offset::Offset(6)).expect_err("refused");
    assert_eq!(
        crate::support::code(&error),
        RDKafkaErrorCode::OffsetOutOfRange
    );
    assert_eq!(delete(Offset::End).ok(), Some(Offset::Offset(5)));
    assert_eq!(watermarks(&name, 0), (5, 5));
    assert_eq!(read(&name, &[]), []);
    assert_eq!(write(&name, 0, &["f"]), [5]);
    let lost = read_from(&name, &[(0, Offset::Offset(3))], &[]);
    assert_eq!(texts(&lost), ["f"]);
}

#[test]
fn groups_are_listed_described_and_deleted() {
    let name = topic("grouped", 1);
    let group = unique("grouped");
    let state = || {
        let list = admin()
            .inner()
            .fetch_group_list(Some(&group), PATIENCE)
            .expect("an answer");
        let found = list.groups().iter().find(|g| g.name() == group);
        found.map(|g| (g.state().to_owned(), g.members().len()))
    };
    let member = consumer(&group, &[("client.id", "the-member")]);
    member.subscribe(&[&name]).expect("subscribed");
    eventually("the partition", || {
        let _whatever = member.poll(std::time::Duration::from_millis(10));
        (assigned(&member).len() == 1).then_some(())
    });
    eventually("a stable group", || {
        (state() == Some(("Stable".to_owned(), 1))).then_some(())
    });
    let everything = admin()
        .inner()
        .fetch_group_list(None, PATIENCE)
        .expect("an answer");
    let found = everything.groups().iter().find(|g| g.name() == group);
    let found = found.expect("it is listed");
    assert_eq!(found.protocol_type(), "consumer");
    assert_eq!(found.protocol(), "range");
    assert_eq!(found.members()[0].client_id(), "the-member");
    assert!(!found.members()[0].id().is_empty());
    assert!(found.members()[0].client_host().contains("127.0.0.1"));
    assert!(
        found.members()[0]
            .assignment()
            .is_some_and(|a| !a.is_empty())
    );

    let delete = |group: &str| {
        let results = block_on(admin().delete_groups(&[group], &patient())).expect("an answer");
        let result = results.into_iter().next().expect("this group's");
        result.map(|_| ()).map_err(|(_, code)| code)
    };
    assert_eq!(delete(&group), Err(RDKafkaErrorCode::NonEmptyGroup));
    let at = positions(&name, &[(0, Offset::Offset(0))]);
    member.commit(&at, CommitMode::Sync).expect("committed");
    drop(member);
    eventually("an empty group", || {
        (state() == Some(("Empty".to_owned(), 0))).then_some(())
    });
    assert_eq!(delete(&group), Ok(()));
    assert_eq!(delete(&group), Err(RDKafkaErrorCode::GroupIdNotFound));
    let offsets = consumer(&group, &[])
        .committed_offsets(at, PATIENCE)
        .expect("an answer");
    assert_eq!(offsets.elements()[0].offset(), Offset::Invalid);
}

#[test]
fn the_cluster_is_one_node_that_can_be_reached_where_it_says() {
    let metadata = admin()
        .inner()
        .fetch_metadata(None, PATIENCE)
        .expect("metadata");
    let [node] = metadata.brokers() else {
        panic!("one node");
    };
    assert_eq!(format!("{}:{}", node.host(), node.port()), brokers());
    let id = admin().inner().fetch_cluster_id(PATIENCE);
    assert!(id.is_some_and(|id| !id.is_empty()));
    let answer = Wire::connect().call(&DescribeClusterRequest::default(), 0);
    assert_eq!(answer.error_code, errors::NONE);
    assert_eq!(answer.brokers.len(), 1);
    assert_eq!(answer.brokers[0].broker_id.0, node.id());
    assert_eq!(answer.controller_id.0, node.id());
}

#[test]
fn versions_are_told_also_to_clients_of_the_future() {
    let mut wire = Wire::connect();
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("conformance"))
        .with_client_software_version(text("1"));
    let answer = wire.call(&request, 3);
    assert_eq!(answer.error_code, errors::NONE);
    let range = |key: ApiKey| {
        let found = answer.api_keys.iter().find(|k| k.api_key == key as i16);
        found.map(|k| (k.min_version, k.max_version))
    };
    for (key, needed) in [
        (ApiKey::Produce, 9),
        (ApiKey::Fetch, 12),
        (ApiKey::ListOffsets, 7),
        (ApiKey::Metadata, 12),
        (ApiKey::OffsetCommit, 8),
        (ApiKey::OffsetFetch, 8),
        (ApiKey::FindCoordinator, 4),
        (ApiKey::JoinGroup, 7),
        (ApiKey::Heartbeat, 4),
        (ApiKey::LeaveGroup, 4),
        (ApiKey::SyncGroup, 5),
        (ApiKey::InitProducerId, 4),
        (ApiKey::AddPartitionsToTxn, 3),
        (ApiKey::AddOffsetsToTxn, 3),
        (ApiKey::EndTxn, 3),
        (ApiKey::TxnOffsetCommit, 3),
    ] {
        let (least, most) = range(key).unwrap_or_else(|| panic!("{key:?} is missing"));
        assert!((least..=most).contains(&needed), "{key:?} {least}..{most}");
    }

    // Version 99 of ApiVersions, correlation id 7, no client id: the answer is in version 0.
    wire.send_frame(&[0, 18, 0, 99, 0, 0, 0, 7, 255, 255, 0]);
    let answer = wire.receive_frame();
    assert_eq!(&answer[..4], [0, 0, 0, 7]);
    let error = i16::from_be_bytes([answer[4], answer[5]]);
    assert_eq!(error, errors::UNSUPPORTED_VERSION);
    // And the connection goes on.
    assert_eq!(wire.call(&request, 3).error_code, errors::NONE);
}
