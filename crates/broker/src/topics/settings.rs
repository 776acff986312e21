//! What can be set on a topic: names, defaults, which values are taken.
//!
//! A topic keeps only what was set on it. Everything that Kafka knows may be set, so that scripts written
//! for Kafka run; settings that mean nothing on one node, or that only save space, are kept and shown
//! and have no effect. A setting whose effect would be missed is refused instead: see [`check`].

use std::collections::BTreeMap;

use crate::log::{LogLimits, TimestampRule};

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number, not below the limit.
    Number(i64),
    /// A fraction from 0 to 1.
    Fraction,
    /// Words from a list, separated by commas.
    Words(&'static [&'static str]),
    /// One word from a list.
    Word(&'static [&'static str]),
    /// Any text.
    Text,
}

impl Kind {
    /// Kafka's number for the type, as `DescribeConfigs` shows it.
    pub(crate) fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::Word(_) | Self::Text => 2,
            Self::Number(_) => 5,
            Self::Fraction => 6,
            Self::Words(_) => 7,
        }
    }
}

/// A setting that Kafka knows.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Kafka's name.
    pub(crate) name: &'static str,
    /// Value of a topic on which it was not set.
    pub(crate) default: &'static str,
    /// How it is written.
    pub(crate) kind: Kind,
}

const fn setting(name: &'static str, default: &'static str, kind: Kind) -> Setting {
    Setting {
        name,
        default,
        kind,
    }
}

/// All settings of a topic, by name.
pub(crate) const SETTINGS: &[Setting] = &[
    setting(
        "cleanup.policy",
        "delete",
        Kind::Words(&["delete", "compact"]),
    ),
    setting(
        "compression.type",
        "producer",
        Kind::Word(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
    ),
    setting("delete.retention.ms", "86400000", Kind::Number(0)),
    setting("file.delete.delay.ms", "60000", Kind::Number(0)),
    setting("flush.messages", "9223372036854775807", Kind::Number(1)),
    setting("flush.ms", "9223372036854775807", Kind::Number(0)),
    setting("index.interval.bytes", "4096", Kind::Number(0)),
    setting(
        "max.compaction.lag.ms",
        "9223372036854775807",
        Kind::Number(1),
    ),
    setting("max.message.bytes", "1048588", Kind::Number(0)),
    setting("message.timestamp.after.max.ms", "3600000", Kind::Number(0)),
    setting(
        "message.timestamp.before.max.ms",
        "9223372036854775807",
        Kind::Number(0),
    ),
    setting(
        "message.timestamp.type",
        "CreateTime",
        Kind::Word(&["CreateTime", "LogAppendTime"]),
    ),
    setting("min.cleanable.dirty.ratio", "0.5", Kind::Fraction),
    setting("min.compaction.lag.ms", "0", Kind::Number(0)),
    setting("min.insync.replicas", "1", Kind::Number(1)),
    setting("preallocate", "false", Kind::Boolean),
    setting("retention.bytes", "-1", Kind::Number(-1)),
    // Kafka's default is a week. Whoever tries something with events of last year would see them
    // vanish, for retention goes by the records' timestamps: here nothing goes unless it is told to.
    setting("retention.ms", "-1", Kind::Number(-1)),
    setting("segment.bytes", "1073741824", Kind::Number(14)),
    setting("segment.index.bytes", "10485760", Kind::Number(4)),
    setting("segment.jitter.ms", "0", Kind::Number(0)),
    setting("segment.ms", "604800000", Kind::Number(1)),
    setting("unclean.leader.election.enable", "false", Kind::Boolean),
    setting("follower.replication.throttled.replicas", "", Kind::Text),
    setting("leader.replication.throttled.replicas", "", Kind::Text),
];

/// The setting of that name.
pub(crate) fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// Whether `value` can be set; what is wrong with it if not.
pub(crate) fn check(name: &str, value: &str) -> Result<(), String> {
    let setting = find(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
    let invalid = |expected: &str| {
        Err(format!(
            "Invalid value {value} for configuration {name}: {expected}"
        ))
    };
    match setting.kind {
        Kind::Boolean if !matches!(value, "true" | "false") => invalid("must be true or false"),
        Kind::Number(least) => match value.parse::<i64>() {
            Ok(number) if number >= least => Ok(()),
            Ok(_) => invalid(&format!("must be at least {least}")),
            Err(_) => invalid("not a number of type LONG"),
        },
        Kind::Fraction => match value.parse::<f64>() {
            Ok(number) if (0.0..=1.0).contains(&number) => Ok(()),
            _ => invalid("must be from 0 to 1"),
        },
        Kind::Words(words) | Kind::Word(words)
            if !value.split(',').all(|word| words.contains(&word.trim())) =>
        {
            invalid(&format!("must be one of {}", words.join(", ")))
        }
        Kind::Word(_) if value.contains(',') => invalid("must be one word"),
        // Transparent to readers, but the sizes somebody asked for would not be there.
        _ if name == "compression.type" && value != "producer" => {
            invalid("this broker stores batches as producers compress them")
        }
        _ => Ok(()),
    }
}

/// The value of a setting: what was set, or its default.
pub(crate) fn value<'a>(config: &'a BTreeMap<String, String>, name: &'a str) -> &'a str {
    config
        .get(name)
        .map(String::as_str)
        .or_else(|| find(name).map(|setting| setting.default))
        .unwrap_or_default()
}

fn number(config: &BTreeMap<String, String>, name: &str) -> i64 {
    value(config, name).parse().unwrap_or(i64::MAX)
}

/// [`check`] lets no negative size pass.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// What the settings mean to a partition's log.
pub(crate) fn limits(config: &BTreeMap<String, String>) -> LogLimits {
    let deletes = value(config, "cleanup.policy")
        .split(',')
        .any(|word| word.trim() == "delete");
    // Compaction is never done: whatever a compacted topic must keep is kept, and more.
    let retention = |name| if deletes { number(config, name) } else { -1 };
    LogLimits {
        retention_ms: retention("retention.ms"),
        retention_bytes: retention("retention.bytes"),
        segment_bytes: unsigned(number(config, "segment.bytes")),
        max_message_bytes: unsigned(number(config, "max.message.bytes")) as usize,
        timestamps: if value(config, "message.timestamp.type") == "LogAppendTime" {
            TimestampRule::Append
        } else {
            TimestampRule::Producer {
                behind_ms: number(config, "message.timestamp.before.max.ms"),
                ahead_ms: number(config, "message.timestamp.after.max.ms"),
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_can_be_set() {
        for setting in SETTINGS {
            assert_eq!(check(setting.name, setting.default), Ok(()));
        }
    }

    #[test]
    fn values_of_another_kind_are_refused_with_a_reason() {
        for (name, value) in [
            ("retention.ms", "soon"),
            ("retention.ms", "-2"),
            ("cleanup.policy", "delete,shred"),
            ("preallocate", "yes"),
            ("message.timestamp.type", "SomeTime"),
            ("compression.type", "gzip"),
            ("compression.type", "producer,gzip"),
            ("min.cleanable.dirty.ratio", "2"),
            ("no.such.setting", "1"),
        ] {
            let reason = check(name, value).unwrap_err();
            assert!(reason.contains(name), "{reason}");
        }
    }

    #[test]
    fn a_compacted_topic_keeps_everything() {
        let mut config = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
        config.insert("retention.ms".to_owned(), "1000".to_owned());
        assert_eq!(limits(&config).retention_ms, -1);
        config.remove("cleanup.policy");
        assert_eq!(limits(&config).retention_ms, 1_000);
    }
}
