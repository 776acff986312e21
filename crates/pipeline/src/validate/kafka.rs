//! Kafka: clusters, topics, client properties.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::field::{Field, Table};
use crate::node::{Key, Text};
use crate::raw::{RawKafkaSink, RawKafkaSource, RawProperty};
use crate::{KafkaCluster, Secret, Span};

use super::Validator;

/// Longest topic name a broker takes.
const MAX_TOPIC: usize = 249;

/// Properties that the engine sets itself, and what to do instead.
const MANAGED: [(&str, &str); 17] = [
    ("bootstrap.servers", "use `brokers`"),
    ("metadata.broker.list", "use `brokers`"),
    ("group.id", "use `group` of the source"),
    (
        "group.instance.id",
        "the engine assigns partitions itself, without group membership",
    ),
    (
        "group.protocol",
        "the engine assigns partitions itself, without group membership",
    ),
    (
        "partition.assignment.strategy",
        "the engine assigns partitions itself",
    ),
    (
        "enable.auto.commit",
        "positions are committed with each checkpoint",
    ),
    (
        "auto.commit.interval.ms",
        "positions are committed with each checkpoint",
    ),
    (
        "enable.auto.offset.store",
        "positions are committed with each checkpoint",
    ),
    (
        "auto.offset.reset",
        "use `start` and `on_lost_position` of the source",
    ),
    (
        "enable.partition.eof",
        "the engine needs it to know when it has caught up",
    ),
    (
        "transactional.id",
        "it names the pipeline and output, and fences a second instance",
    ),
    (
        "enable.idempotence",
        "results are exactly once only with it",
    ),
    ("acks", "results are exactly once only with `all`"),
    (
        "request.required.acks",
        "results are exactly once only with `all`",
    ),
    (
        "max.in.flight.requests.per.connection",
        "transactions set their own limit",
    ),
    (
        "statistics.interval.ms",
        "the engine sets it for its metrics",
    ),
];

/// Properties of the Java client that this one does not have.
const JAVA_ONLY: [(&str, &str); 8] = [
    (
        "sasl.jaas.config",
        "use `sasl.username` and `sasl.password`",
    ),
    (
        "ssl.truststore.location",
        "use `ssl.ca.location` with a PEM file",
    ),
    (
        "ssl.truststore.password",
        "use `ssl.ca.location` with a PEM file",
    ),
    (
        "ssl.truststore.type",
        "use `ssl.ca.location` with a PEM file",
    ),
    (
        "key.serializer",
        "keys are written as the `key` expression says",
    ),
    ("value.serializer", "values are written as JSON"),
    ("key.deserializer", "keys are not decoded"),
    (
        "value.deserializer",
        "values are decoded as `format` and `schema` say",
    ),
];

/// Both names of one property.
const MECHANISM: [&str; 2] = ["sasl.mechanism", "sasl.mechanisms"];

/// SASL mechanisms for which no build has what they need: a library, or somebody who fetches tokens.
const NOT_BUILT_IN: [&str; 2] = ["GSSAPI", "OAUTHBEARER"];

impl Validator<'_> {
    pub(super) fn source_cluster(&mut self, raw: &RawKafkaSource) -> Option<KafkaCluster> {
        let brokers = self.brokers(&raw.brokers);
        let properties = self.properties(&raw.kafka);
        Some(KafkaCluster {
            brokers: brokers?,
            properties: properties?,
        })
    }

    /// A sink's cluster: its own, or that of the first Kafka source.
    pub(super) fn sink_cluster(&mut self, place: Span, raw: &RawKafkaSink) -> Option<KafkaCluster> {
        let properties = self.properties(&raw.kafka);
        if !raw.brokers.is_absent() {
            return Some(KafkaCluster {
                brokers: self.brokers(&raw.brokers)?,
                properties: properties?,
            });
        }
        let Some(inherited) = self.clusters.first() else {
            if !self.sources_broken {
                self.problems.push(
                    Diagnostic::error(
                        "missing-brokers",
                        place,
                        "this Kafka topic has no `brokers`, and there is no Kafka source to take \
                         them from",
                    )
                    .label("needs `brokers`"),
                );
            }
            return None;
        };
        let mut cluster = inherited.clone()?;
        cluster.properties.extend(properties?);
        Some(cluster)
    }

    pub(super) fn topic(&mut self, field: &Field<Text>) -> Option<String> {
        let text = field.given()?;
        let name = &text.value;
        let sound = (1..=MAX_TOPIC).contains(&name.len())
            && !matches!(name.as_str(), "." | "..")
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if !sound {
            self.problems.push(
                Diagnostic::error("bad-topic", text.span, "this cannot be a topic's name").label(
                    format!("expected 1 to {MAX_TOPIC} letters, digits, `.`, `_` and `-`"),
                ),
            );
            return None;
        }
        Some(name.clone())
    }

    fn brokers(&mut self, field: &Field<Text>) -> Option<String> {
        let text = field.given()?;
        let mut at = 0;
        let mut brokers = Vec::new();
        for part in text.value.split(',') {
            let broker = part.trim();
            if !is_broker(broker) {
                let place = super::place(text, at..at + part.len());
                self.problems.push(
                    Diagnostic::error("bad-brokers", place, "this is no list of brokers")
                        .label("expected host:port, separated by commas"),
                );
                return None;
            }
            brokers.push(broker);
            at += part.len() + 1;
        }
        Some(brokers.join(","))
    }

    fn properties(
        &mut self,
        field: &Field<Table<RawProperty>>,
    ) -> Option<BTreeMap<String, Secret>> {
        let mut flat = Vec::new();
        match field {
            Field::Given(table, _) => flatten("", table, &mut flat)?,
            Field::Absent => {}
            Field::Broken => return None,
        }
        let mut properties = BTreeMap::new();
        let mut sound = true;
        for (name, key, value) in flat {
            sound &= self.property(&name, key, value);
            if properties
                .insert(name.clone(), Secret::new(value.value.clone()))
                .is_some()
            {
                self.problems.push(
                    Diagnostic::error(
                        "duplicate-name",
                        key.span,
                        format!("property `{}` is there twice", name.escape_debug()),
                    )
                    .label("given before, in another spelling"),
                );
                sound = false;
            }
        }
        sound.then_some(properties)
    }

    fn property(&mut self, name: &str, key: &Key, value: &Text) -> bool {
        let find = |table: &'static [(&str, &str)]| table.iter().find(|(other, _)| *other == name);
        let (code, message, reason) = if let Some((_, reason)) = find(&MANAGED) {
            let message = format!("`{name}` is set by the engine itself");
            ("managed-property", message, reason)
        } else if let Some((_, reason)) = find(&JAVA_ONLY) {
            let message = format!("`{name}` is a property of the Java client");
            ("java-property", message, reason)
        } else if MECHANISM.contains(&name) {
            return self.mechanism(value);
        } else {
            return true;
        };
        self.problems.push(
            Diagnostic::error(code, key.span, message)
                .label("take it out")
                .help(*reason),
        );
        false
    }

    /// Refuses by the constant's name: a property's value is never shown.
    fn mechanism(&mut self, value: &Text) -> bool {
        let same = |name: &&&str| name.eq_ignore_ascii_case(value.value.trim());
        let Some(name) = NOT_BUILT_IN.iter().find(same) else {
            return true;
        };
        let message = format!("the SASL mechanism {name} is not built in");
        self.problems.push(
            Diagnostic::error("unsupported-mechanism", value.span, message)
                .label("expected PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
        );
        false
    }
}

/// `host`, `host:port`, `[v6]:port`, each with a `protocol://` in front or without.
fn is_broker(text: &str) -> bool {
    let address = text.split_once("://").map_or(text, |(_, address)| address);
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    let v6 = host.starts_with('[') && host.ends_with(']');
    !host.is_empty()
        && (v6 || !host.contains(':'))
        && !host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Dotted names of nested tables; `None` if a value was refused.
fn flatten<'a>(
    prefix: &str,
    table: &'a Table<RawProperty>,
    flat: &mut Vec<(String, &'a Key, &'a Text)>,
) -> Option<()> {
    let mut sound = Some(());
    for (key, field) in &table.0 {
        let name = if prefix.is_empty() {
            key.name.clone()
        } else {
            format!("{prefix}.{}", key.name)
        };
        match field.given() {
            Some(RawProperty::Value(value)) => flat.push((name, key, value)),
            Some(RawProperty::Nested(below)) => sound = sound.and(flatten(&name, below, flat)),
            None => sound = None,
        }
    }
    sound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_hosts_with_ports() {
        for broker in [
            "localhost",
            "kafka-1:9092",
            "[::1]:9092",
            "[::1]",
            "SASL_SSL://a.b:1",
        ] {
            assert!(is_broker(broker), "{broker}");
        }
        for broker in [
            "",
            ":9092",
            "a:b",
            "a:0",
            "a:65536",
            "::1",
            "a b:1",
            "http://a/b",
        ] {
            assert!(!is_broker(broker), "{broker}");
        }
    }
}
