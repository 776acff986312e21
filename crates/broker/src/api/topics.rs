//! Requests that make, delete and grow topics.

use std::collections::{BTreeMap, HashSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use uuid::Uuid;

use super::configs::source;
use super::{Context, NODE_ID, Refused, text};
use crate::core::Core;
use crate::sync::lock;
use crate::topics::{TopicError, settings};
use crate::units::TopicId;

/// Leaves a number to the broker.
const BROKERS_CHOICE: i32 = -1;
/// First version in which a deletion may name ids, and each answer has words.
const DELETE_BY_ID: i16 = 6;

/// What clients act on.
pub(crate) fn code(error: &TopicError) -> ResponseError {
    match error {
        TopicError::InvalidName(_) => ResponseError::InvalidTopicException,
        TopicError::Exists(_) => ResponseError::TopicAlreadyExists,
        TopicError::Unknown => ResponseError::UnknownTopicOrPartition,
        TopicError::InvalidPartitions(_) => ResponseError::InvalidPartitions,
        TopicError::InvalidConfig(_) => ResponseError::InvalidConfig,
        TopicError::Journal(_) | TopicError::Log(_) => ResponseError::KafkaStorageError,
    }
}

impl From<TopicError> for Refused {
    fn from(error: TopicError) -> Self {
        Self {
            code: code(&error),
            reason: error.to_string(),
        }
    }
}

/// Makes topics.
pub(crate) fn create_topics(
    core: &Core,
    request: CreateTopicsRequest,
    context: &Context,
) -> CreateTopicsResponse {
    let mut seen = HashSet::new();
    let twice: HashSet<TopicName> = request
        .topics
        .iter()
        .filter(|topic| !seen.insert(topic.name.clone()))
        .map(|topic| topic.name.clone())
        .collect();
    let topics = request
        .topics
        .into_iter()
        .map(|wanted| {
            let name = wanted.name.clone();
            let result = CreatableTopicResult::default()
                .with_name(name.clone())
                .with_num_partitions(-1)
                .with_replication_factor(-1);
            let made = if twice.contains(&name) {
                Err(Refused::new(
                    ResponseError::InvalidRequest,
                    "Duplicate topic name.",
                ))
            } else {
                create(core, &wanted, request.validate_only)
            };
            match made {
                Ok(made) => describe(result, &made, context),
                Err(refused) => result
                    .with_error_code(refused.code.code())
                    .with_error_message(Some(text(refused.reason))),
            }
        })
        .collect();
    CreateTopicsResponse::default().with_topics(topics)
}

struct Made {
    id: TopicId,
    partitions: i32,
    config: BTreeMap<String, String>,
}

fn create(core: &Core, wanted: &CreatableTopic, validate_only: bool) -> Result<Made, Refused> {
    let partitions = if wanted.assignments.is_empty() {
        check_replication(wanted.replication_factor)?;
        if wanted.num_partitions == BROKERS_CHOICE {
            core.default_partitions
        } else {
            wanted.num_partitions
        }
    } else {
        let here = |nodes: &[_]| matches!(nodes, [kafka_protocol::messages::BrokerId(NODE_ID)]);
        let mut numbers: Vec<_> = wanted
            .assignments
            .iter()
            .map(|assignment| assignment.partition_index)
            .collect();
        numbers.sort_unstable();
        let complete = numbers.iter().copied().eq(0..numbers.len() as i32);
        if !complete || !wanted.assignments.iter().all(|a| here(&a.broker_ids)) {
            return Err(Refused::new(
                ResponseError::InvalidReplicaAssignment,
                "partitions must be numbered from 0 and be assigned to node 1, the only one",
            ));
        }
        numbers.len() as i32
    };
    let mut config = BTreeMap::new();
    for entry in &wanted.configs {
        let value = entry.value.as_ref().ok_or_else(|| {
            Refused::new(
                ResponseError::InvalidConfig,
                format!("Null value not supported for topic configs: {}", entry.name),
            )
        })?;
        config.insert(entry.name.to_string(), value.to_string());
    }
    if validate_only {
        core.topics.validate(&wanted.name, partitions, &config)?;
        return Ok(Made {
            id: TopicId(0),
            partitions,
            config,
        });
    }
    let topic = core
        .topics
        .create(&wanted.name, partitions, config, &core.journal)?;
    Ok(Made {
        id: topic.id,
        partitions,
        config: topic.config(),
    })
}

fn check_replication(factor: i16) -> Result<(), Refused> {
    match factor {
        -1 | 1 => Ok(()),
        ..=0 => Err(Refused::new(
            ResponseError::InvalidReplicationFactor,
            "Replication factor must be larger than 0.",
        )),
        more => Err(Refused::new(
            ResponseError::InvalidReplicationFactor,
            format!(
                "Unable to replicate the partition {more} time(s): The target replication factor of {more} cannot be reached because only 1 broker(s) are registered."
            ),
        )),
    }
}

fn describe(result: CreatableTopicResult, made: &Made, context: &Context) -> CreatableTopicResult {
    let result = if context.version >= 5 {
        let configs = settings::SETTINGS
            .iter()
            .map(|setting| {
                CreatableTopicConfigs::default()
                    .with_name(text(setting.name))
                    .with_value(Some(text(settings::value(&made.config, setting.name))))
                    .with_config_source(source(&made.config, setting.name))
            })
            .collect();
        result
            .with_num_partitions(made.partitions)
            .with_replication_factor(1)
            .with_configs(Some(configs))
    } else {
        result
    };
    if context.version >= 7 {
        result.with_topic_id(Uuid::from_u128(made.id.0))
    } else {
        result
    }
}

/// Deletes topics, with their records and what groups have committed of them.
pub(crate) fn delete_topics(
    core: &Core,
    request: DeleteTopicsRequest,
    context: &Context,
) -> DeleteTopicsResponse {
    let wanted = if context.version >= DELETE_BY_ID {
        request.topics
    } else {
        request
            .topic_names
            .into_iter()
            .map(|name| DeleteTopicState::default().with_name(Some(name)))
            .collect()
    };
    let responses = wanted
        .into_iter()
        .map(|asked| {
            let by_id = asked.name.is_none();
            let found = match &asked.name {
                Some(name) => core.topics.get(name),
                None => core.topics.get_by_id(TopicId(asked.topic_id.as_u128())),
            };
            let name = found.map(|topic| TopicName(text(topic.name.to_string())));
            let result = DeletableTopicResult::default().with_name(asked.name.or(name.clone()));
            let result = if context.version >= DELETE_BY_ID {
                result.with_topic_id(asked.topic_id)
            } else {
                result
            };
            let deleted = match name {
                Some(name) => delete(core, &name),
                None if by_id => Err(Refused::new(
                    ResponseError::UnknownTopicId,
                    "This server does not host this topic ID.",
                )),
                None => Err(TopicError::Unknown.into()),
            };
            match deleted {
                Ok(id) if context.version >= DELETE_BY_ID => {
                    result.with_topic_id(Uuid::from_u128(id.0))
                }
                Ok(_) => result,
                Err(refused) => result
                    .with_error_code(refused.code.code())
                    .with_error_message((context.version >= 5).then(|| text(refused.reason))),
            }
        })
        .collect();
    DeleteTopicsResponse::default().with_responses(responses)
}

fn delete(core: &Core, name: &str) -> Result<TopicId, Refused> {
    // Offsets first: if the end comes in between, offsets of a topic that was about to go are gone.
    lock(&core.groups)
        .forget_topic(name, &mut core.keeper())
        .map_err(|error| Refused::new(ResponseError::KafkaStorageError, error.to_string()))?;
    Ok(core.topics.delete(name, &core.journal)?)
}

/// Gives topics more partitions.
pub(crate) fn create_partitions(
    core: &Core,
    request: CreatePartitionsRequest,
    _context: &Context,
) -> CreatePartitionsResponse {
    let results = request
        .topics
        .into_iter()
        .map(|wanted| {
            let grown = core
                .topics
                .grow(
                    &wanted.name,
                    wanted.count,
                    request.validate_only,
                    &core.journal,
                )
                .map_err(Refused::from);
            let result = CreatePartitionsTopicResult::default().with_name(wanted.name);
            match grown {
                Ok(()) => result,
                Err(refused) => result
                    .with_error_code(refused.code.code())
                    .with_error_message(Some(text(refused.reason))),
            }
        })
        .collect();
    CreatePartitionsResponse::default().with_results(results)
}
