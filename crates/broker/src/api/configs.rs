//! Requests about configuration: of topics, and what little the broker itself has to show.

use std::collections::{BTreeMap, HashSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResponse;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Context, NODE_ID, Refused, text};
use crate::core::Core;
use crate::topics::{TopicError, settings};

/// Kafka's number for a topic.
const TOPIC: i8 = 2;
/// Kafka's number for a broker.
const BROKER: i8 = 4;

/// The value was set on the topic.
const SET_ON_TOPIC: i8 = 1;
/// The value was given to the broker when it started.
const GIVEN_AT_START: i8 = 4;
/// Nobody set the value.
const DEFAULT: i8 = 5;

/// First version that says a value's type.
const TYPES: i16 = 3;

/// Bytes of the longest list that changes of its members may leave; no setting has as many.
const MAX_LIST: usize = 1 << 10;

/// Where a topic's value comes from.
pub(crate) fn source(config: &BTreeMap<String, String>, name: &str) -> i8 {
    if config.contains_key(name) {
        SET_ON_TOPIC
    } else {
        DEFAULT
    }
}

/// A value as it is shown.
struct Shown {
    name: &'static str,
    value: String,
    source: i8,
    kind: settings::Kind,
    default: Option<&'static str>,
    read_only: bool,
}

/// Shows configurations.
pub(crate) fn describe_configs(
    core: &Core,
    request: DescribeConfigsRequest,
    context: &Context,
) -> DescribeConfigsResponse {
    let synonyms = request.include_synonyms;
    // Each once, however often it is named: an answer is as large as what there is.
    let mut seen = HashSet::new();
    let results = request
        .resources
        .into_iter()
        .filter(|resource| seen.insert((resource.resource_type, resource.resource_name.clone())))
        .map(|resource| {
            let shown = show(core, &resource);
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name);
            match shown {
                Ok(shown) => {
                    let keys = resource.configuration_keys;
                    let wanted = |name: &str| {
                        keys.as_ref().is_none_or(|keys| {
                            keys.is_empty() || keys.iter().any(|key| key.as_str() == name)
                        })
                    };
                    result.with_configs(
                        shown
                            .into_iter()
                            .filter(|shown| wanted(shown.name))
                            .map(|shown| describe(shown, synonyms, context))
                            .collect(),
                    )
                }
                Err(refused) => result
                    .with_error_code(refused.code.code())
                    .with_error_message(Some(text(refused.reason))),
            }
        })
        .collect();
    DescribeConfigsResponse::default().with_results(results)
}

fn show(core: &Core, resource: &DescribeConfigsResource) -> Result<Vec<Shown>, Refused> {
    match resource.resource_type {
        TOPIC => {
            let topic = core
                .topics
                .get(&resource.resource_name)
                .ok_or(TopicError::Unknown)?;
            let config = topic.config();
            Ok(settings::SETTINGS
                .iter()
                .map(|setting| Shown {
                    name: setting.name,
                    value: settings::value(&config, setting.name).to_owned(),
                    source: source(&config, setting.name),
                    kind: setting.kind,
                    default: Some(setting.default),
                    read_only: false,
                })
                .collect())
        }
        BROKER if matches!(resource.resource_name.as_str(), "" | "1") => Ok(of_broker(core)),
        BROKER => Err(Refused {
            code: ResponseError::InvalidRequest,
            reason: format!(
                "Unexpected broker id, expected {NODE_ID}, but received {}",
                resource.resource_name
            ),
        }),
        other => Err(Refused {
            code: ResponseError::InvalidRequest,
            reason: format!("resources of type {other} have no configuration here"),
        }),
    }
}

fn of_broker(core: &Core) -> Vec<Shown> {
    let given = |name, value: String, kind| Shown {
        name,
        value,
        source: GIVEN_AT_START,
        kind,
        default: None,
        read_only: true,
    };
    let auto = core.auto_create_partitions;
    vec![
        given("broker.id", NODE_ID.to_string(), settings::Kind::Number(0)),
        given(
            "num.partitions",
            auto.unwrap_or(core.default_partitions).to_string(),
            settings::Kind::Number(1),
        ),
        given(
            "auto.create.topics.enable",
            auto.is_some().to_string(),
            settings::Kind::Boolean,
        ),
        given(
            "default.replication.factor",
            "1".to_owned(),
            settings::Kind::Number(1),
        ),
    ]
}

fn describe(shown: Shown, synonyms: bool, context: &Context) -> DescribeConfigsResourceResult {
    let name = text(shown.name);
    let mut same = Vec::new();
    if synonyms {
        let synonym = |value: &str, source| {
            DescribeConfigsSynonym::default()
                .with_name(text(shown.name))
                .with_value(Some(text(value)))
                .with_source(source)
        };
        if shown.source != DEFAULT {
            same.push(synonym(&shown.value, shown.source));
        }
        same.extend(shown.default.map(|default| synonym(default, DEFAULT)));
    }
    let result = DescribeConfigsResourceResult::default()
        .with_name(name)
        .with_value(Some(text(shown.value)))
        .with_read_only(shown.read_only)
        .with_config_source(shown.source)
        .with_synonyms(same);
    if context.version >= TYPES {
        result.with_config_type(shown.kind.code())
    } else {
        result
    }
}

/// Replaces topics' configurations.
pub(crate) fn alter_configs(
    core: &Core,
    request: AlterConfigsRequest,
    _context: &Context,
) -> AlterConfigsResponse {
    let responses = request
        .resources
        .into_iter()
        .map(|resource| {
            let altered = alter(
                core,
                resource.resource_type,
                &resource.resource_name,
                request.validate_only,
                |config| {
                    config.clear();
                    for entry in &resource.configs {
                        let value = entry.value.as_ref().ok_or_else(|| no_value(&entry.name))?;
                        config.insert(entry.name.to_string(), value.to_string());
                    }
                    Ok(())
                },
            );
            let (error, message) = outcome(altered);
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name)
                .with_error_code(error)
                .with_error_message(message)
        })
        .collect();
    AlterConfigsResponse::default().with_responses(responses)
}

/// Changes single values of topics' configurations.
pub(crate) fn incremental_alter_configs(
    core: &Core,
    request: IncrementalAlterConfigsRequest,
    _context: &Context,
) -> IncrementalAlterConfigsResponse {
    let responses = request
        .resources
        .into_iter()
        .map(|resource| {
            let altered = alter(
                core,
                resource.resource_type,
                &resource.resource_name,
                request.validate_only,
                |config| {
                    resource
                        .configs
                        .iter()
                        .try_for_each(|change| apply(config, change))
                },
            );
            let (error, message) = outcome(altered);
            IncrementalResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name)
                .with_error_code(error)
                .with_error_message(message)
        })
        .collect();
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

fn alter(
    core: &Core,
    resource_type: i8,
    name: &str,
    validate_only: bool,
    change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), String>,
) -> Result<(), Refused> {
    if resource_type != TOPIC {
        return Err(Refused {
            code: ResponseError::InvalidRequest,
            reason: "only topics can be configured while the broker runs".to_owned(),
        });
    }
    core.topics
        .configure(name, validate_only, &core.journal, change)
        .map_err(Refused::from)
}

fn no_value(name: &str) -> String {
    format!("Null value not supported for : {name}")
}

fn outcome(altered: Result<(), Refused>) -> (i16, Option<StrBytes>) {
    match altered {
        Ok(()) => (0, None),
        Err(refused) => (refused.code.code(), Some(text(refused.reason))),
    }
}

/// A list as it is stored.
fn joined(list: &[String]) -> Result<String, String> {
    let value = list.join(",");
    if value.len() > MAX_LIST {
        return Err(format!(
            "a list of {} bytes, {MAX_LIST} are possible",
            value.len()
        ));
    }
    Ok(value)
}

/// One change of one value, by Kafka's numbers: 0 sets, 1 removes, 2 appends to a list, 3 takes out of it.
fn apply(config: &mut BTreeMap<String, String>, change: &AlterableConfig) -> Result<(), String> {
    let name = change.name.as_str();
    let value = || {
        change
            .value
            .as_ref()
            .map(|value| value.to_string())
            .ok_or_else(|| no_value(name))
    };
    let words = |config: &BTreeMap<String, String>| -> Vec<String> {
        let listed = settings::value(config, name).split(',').map(str::trim);
        listed
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    match change.config_operation {
        0 => {
            config.insert(name.to_owned(), value()?);
        }
        1 => {
            config.remove(name);
        }
        2 => {
            let mut list = words(config);
            let mut known: HashSet<_> = list.iter().cloned().collect();
            for word in value()?.split(',') {
                if known.insert(word.to_owned()) {
                    list.push(word.to_owned());
                }
            }
            config.insert(name.to_owned(), joined(&list)?);
        }
        3 => {
            let taken = value()?;
            let taken: HashSet<_> = taken.split(',').collect();
            let mut list = words(config);
            list.retain(|word| !taken.contains(word.as_str()));
            config.insert(name.to_owned(), joined(&list)?);
        }
        other => return Err(format!("unknown operation {other} on {name}")),
    }
    Ok(())
}
