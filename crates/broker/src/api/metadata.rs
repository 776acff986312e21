//! `Metadata`: which topics there are and who leads them.

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use uuid::Uuid;

use super::cluster::NOT_ASKED;
use super::{Context, LEADER_EPOCH, NODE_ID, text};
use crate::core::Core;
use crate::topics::{Topic, TopicError};
use crate::units::TopicId;

/// First version in which no topics means none; before, it meant all.
const NONE_MEANS_NONE: i16 = 1;
/// First version that shows topic ids.
const TOPIC_IDS: i16 = 10;
/// First version in which a client says whether topics may be made.
const SAYS_CREATION: i16 = 4;

/// Describes the topics that were asked for; makes those that are missing where the broker was told to.
pub(crate) fn metadata(
    core: &Core,
    request: MetadataRequest,
    context: &Context,
) -> MetadataResponse {
    let (host, port) = context.advertised();
    let may_create = request.allow_auto_topic_creation || context.version < SAYS_CREATION;
    // Each once, as Kafka does, however often it is named: an answer is as large as what there is.
    let mut seen = HashSet::new();
    let topics = match request.topics {
        Some(topics) if !topics.is_empty() || context.version >= NONE_MEANS_NONE => topics
            .into_iter()
            .filter(|asked| seen.insert((asked.name.clone(), asked.topic_id)))
            .map(|asked| one(core, asked, may_create, context))
            .collect(),
        _ => core
            .topics
            .all()
            .iter()
            .map(|topic| describe(topic, context))
            .collect(),
    };
    let response = MetadataResponse::default()
        .with_brokers(vec![
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(NODE_ID))
                .with_host(text(host))
                .with_port(port),
        ])
        .with_controller_id(BrokerId(NODE_ID))
        .with_cluster_id(Some(text(core.cluster_id.clone())))
        .with_topics(topics);
    if (8..=10).contains(&context.version) {
        response.with_cluster_authorized_operations(NOT_ASKED)
    } else {
        response
    }
}

fn one(
    core: &Core,
    asked: MetadataRequestTopic,
    may_create: bool,
    context: &Context,
) -> MetadataResponseTopic {
    let Some(name) = asked.name else {
        let found = core.topics.get_by_id(TopicId(asked.topic_id.as_u128()));
        return found.map_or_else(
            || {
                MetadataResponseTopic::default()
                    .with_name(None)
                    .with_topic_id(asked.topic_id)
                    .with_topic_authorized_operations(NOT_ASKED)
                    .with_error_code(ResponseError::UnknownTopicId.code())
            },
            |topic| describe(&topic, context),
        );
    };
    match find_or_create(core, &name, may_create) {
        Ok(topic) => describe(&topic, context),
        Err(error) => MetadataResponseTopic::default()
            .with_name(Some(name))
            .with_topic_authorized_operations(NOT_ASKED)
            .with_error_code(error.code()),
    }
}

fn find_or_create(
    core: &Core,
    name: &TopicName,
    may_create: bool,
) -> Result<Arc<Topic>, ResponseError> {
    if let Some(topic) = core.topics.get(name) {
        return Ok(topic);
    }
    let unknown = ResponseError::UnknownTopicOrPartition;
    let partitions = core
        .auto_create_partitions
        .filter(|_| may_create)
        .ok_or(unknown)?;
    let created = core.topics.create(
        name,
        partitions,
        std::collections::BTreeMap::new(),
        &core.journal,
    );
    match created {
        Ok(topic) => Ok(topic),
        // Two clients asked at once; the other one's is as good.
        Err(TopicError::Exists(_)) => core.topics.get(name).ok_or(unknown),
        Err(error) => Err(super::topics::code(&error)),
    }
}

fn describe(topic: &Topic, context: &Context) -> MetadataResponseTopic {
    let node = || vec![BrokerId(NODE_ID)];
    let partitions = (0..topic.partition_count())
        .map(|number| {
            MetadataResponsePartition::default()
                .with_partition_index(number)
                .with_leader_id(BrokerId(NODE_ID))
                .with_leader_epoch(if context.version >= 7 {
                    LEADER_EPOCH
                } else {
                    -1
                })
                .with_replica_nodes(node())
                .with_isr_nodes(node())
        })
        .collect();
    let described = MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(topic.name.to_string()))))
        .with_topic_authorized_operations(NOT_ASKED)
        .with_partitions(partitions);
    if context.version >= TOPIC_IDS {
        described.with_topic_id(Uuid::from_u128(topic.id.0))
    } else {
        described
    }
}
