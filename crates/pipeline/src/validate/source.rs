//! Sources: columns, event time, where to begin.

use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::field::{Field, Table};
use crate::node::{Key, Text};
use crate::raw::{
    DEFAULT_ANOMALIES, DEFAULT_DEVICES, DEFAULT_IDLE_AFTER, DEFAULT_MAX_FUTURE, DEFAULT_PARTITIONS,
    OneOrMany, RawColumn, RawEventTime, RawFileSource, RawGeneratorSource, RawKafkaSource,
    RawOnBadRecord, RawOnLostPosition, RawSource, RawTimestampFormat,
};
use crate::suggest::{closest, list};
use crate::{
    Column, EventTime, FileSource, GeneratorSource, KafkaSource, OnBadRecord, OnLostPosition,
    Source, SourceKind, SqlType, Start, TimestampFormat, types,
};

use super::{Validator, place};

/// A column's name, and the column unless it was refused.
type NamedColumn = (String, Option<Column>);

/// What the simulator writes, if the file does not say which of it to read.
const GENERATOR_COLUMNS: [(&str, SqlType, bool); 7] = [
    ("device_id", SqlType::String, false),
    ("ts", SqlType::Timestamp, false),
    ("temperature_c", SqlType::Double, true),
    ("vibration_g", SqlType::Double, true),
    ("status", SqlType::String, true),
    ("site", SqlType::String, true),
    ("line", SqlType::String, true),
];

impl Validator<'_> {
    pub(super) fn source(&mut self, key: &Key, raw: &RawSource) -> Option<Source> {
        match raw {
            RawSource::Kafka(raw) => self.kafka_source(key, raw),
            RawSource::File(raw) => self.file_source(key, raw),
            RawSource::Generator(raw) => self.generator_source(key, raw),
        }
    }

    fn kafka_source(&mut self, key: &Key, raw: &RawKafkaSource) -> Option<Source> {
        let cluster = self.source_cluster(raw);
        self.clusters.push(cluster.clone());
        let topic = self.topic(&raw.topic);
        let start = self.start(&raw.start);
        let columns = self.columns(&raw.schema);
        let event_time = self.event_time(key, &raw.event_time, columns.as_deref());
        let columns = columns.and_then(complete);
        let on_bad_record = self.on_bad_record(key, &raw.on_bad_record);
        let group = match raw.group.given() {
            Some(group) => Some(group.value.clone()),
            None => self
                .pipeline_name
                .as_ref()
                .map(|name| format!("floodmark-{name}")),
        };
        Some(Source {
            name: key.name.clone(),
            span: key.span,
            kind: SourceKind::Kafka(KafkaSource {
                cluster: cluster?,
                topic: topic?,
                partitions: raw
                    .partitions
                    .given()
                    .copied()
                    .unwrap_or(DEFAULT_PARTITIONS),
                group: group?,
            }),
            columns: columns?,
            event_time: event_time?,
            start: start?,
            on_bad_record,
            on_lost_position: match raw.on_lost_position.given() {
                Some(RawOnLostPosition::Earliest) => OnLostPosition::Earliest,
                Some(RawOnLostPosition::Fail) | None => OnLostPosition::Fail,
            },
        })
    }

    fn file_source(&mut self, key: &Key, raw: &RawFileSource) -> Option<Source> {
        let columns = self.columns(&raw.schema);
        let event_time = self.event_time(key, &raw.event_time, columns.as_deref());
        let columns = columns.and_then(complete);
        let on_bad_record = self.on_bad_record(key, &raw.on_bad_record);
        let paths: Vec<&Text> = match raw.path.given() {
            Some(OneOrMany::One(path)) => vec![path],
            Some(OneOrMany::Many(paths)) => paths.iter().filter_map(Field::given).collect(),
            None => Vec::new(),
        };
        for path in &paths {
            if path.value.is_empty() || path.value.contains("://") {
                self.problems.push(
                    Diagnostic::error("bad-location", path.span, "this is no local path")
                        .label("expected a local path or glob pattern"),
                );
            }
        }
        let paths = paths.iter().map(|path| path.value.clone()).collect();
        let kind = SourceKind::File(FileSource { paths });
        Some(from_its_beginning(
            key,
            kind,
            columns?,
            event_time?,
            on_bad_record,
        ))
    }

    fn generator_source(&mut self, key: &Key, raw: &RawGeneratorSource) -> Option<Source> {
        let columns = if raw.schema.is_absent() {
            Some(
                generator_columns(key)
                    .map(|column| (column.name.clone(), Some(column)))
                    .collect(),
            )
        } else {
            self.columns(&raw.schema)
        };
        let event_time = self.event_time(key, &raw.event_time, columns.as_deref());
        let columns = columns.and_then(complete);
        let on_bad_record = self.on_bad_record(key, &raw.on_bad_record);
        let disorder = self.duration(&raw.disorder, "0 seconds");
        let kind = SourceKind::Generator(GeneratorSource {
            rate: raw.rate.given().copied(),
            devices: raw.devices.given().copied().unwrap_or(DEFAULT_DEVICES),
            seed: raw.seed.given().copied().unwrap_or(0),
            count: raw.count.given().copied(),
            anomalies: raw.anomalies.given().copied().unwrap_or(DEFAULT_ANOMALIES),
            late: raw.late.given().copied().unwrap_or(0.0),
            bad: raw.bad.given().copied().unwrap_or(0.0),
            disorder: disorder?,
        });
        Some(from_its_beginning(
            key,
            kind,
            columns?,
            event_time?,
            on_bad_record,
        ))
    }

    fn start(&mut self, field: &Field<Text>) -> Option<Start> {
        let text = match field {
            Field::Given(text, _) => text,
            Field::Absent => return Some(Start::Earliest),
            Field::Broken => return None,
        };
        match text.value.as_str() {
            "earliest" => return Some(Start::Earliest),
            "latest" => return Some(Start::Latest),
            _ => {}
        }
        if let Ok(moment) = text.value.parse::<jiff::Timestamp>() {
            return Some(Start::Timestamp(moment.as_millisecond()));
        }
        let help = closest(&text.value, ["earliest", "latest"])
            .map(|word| format!("did you mean `{word}`?"));
        self.problems.push(
            Diagnostic::error(
                "unknown-value",
                text.span,
                format!("`start` does not take {}", text.shown()),
            )
            .label("expected `earliest`, `latest` or a moment like `2025-08-17T12:00:00Z`")
            .maybe_help(help),
        );
        None
    }

    fn on_bad_record(&mut self, key: &Key, field: &Field<RawOnBadRecord>) -> OnBadRecord {
        match field {
            Field::Given(RawOnBadRecord::DeadLetter, span) => {
                if !self.has_dead_letter {
                    self.problems.push(
                        Diagnostic::error(
                            "missing-dead-letter",
                            *span,
                            "there is no [dead_letter] to write bad records to",
                        )
                        .label("needs a [dead_letter] table")
                        .help("add [dead_letter], or choose `skip` or `fail`"),
                    );
                }
                OnBadRecord::DeadLetter
            }
            Field::Given(RawOnBadRecord::Fail, _) => OnBadRecord::Fail,
            Field::Given(RawOnBadRecord::Skip, _) => OnBadRecord::Skip,
            Field::Broken => OnBadRecord::DeadLetter,
            Field::Absent if self.has_dead_letter => OnBadRecord::DeadLetter,
            Field::Absent => {
                self.problems.push(
                    Diagnostic::warning(
                        "drops-bad-records",
                        key.span,
                        format!(
                            "records of `{}` that cannot be read are counted and dropped",
                            key.name.escape_debug()
                        ),
                    )
                    .help("add [dead_letter] to keep them, or say `on_bad_record = \"skip\"`"),
                );
                OnBadRecord::Skip
            }
        }
    }

    fn columns(&mut self, field: &Field<Table<RawColumn>>) -> Option<Vec<NamedColumn>> {
        let table = field.given()?;
        self.column_names(table);
        let columns = table.0.iter().map(|(key, column)| {
            let column = column.given().and_then(|column| self.column(key, column));
            (key.name.clone(), column)
        });
        Some(columns.collect())
    }

    fn column_names(&mut self, table: &Table<RawColumn>) {
        let mut seen: Vec<&Key> = Vec::new();
        for (key, _) in &table.0 {
            let taken = seen
                .iter()
                .find(|other| other.name.to_lowercase() == key.name.to_lowercase());
            if let Some(other) = taken {
                self.problems.push(
                    Diagnostic::error(
                        "duplicate-name",
                        key.span,
                        format!(
                            "column `{}` is there as `{}` already",
                            key.name.escape_debug(),
                            other.name.escape_debug()
                        ),
                    )
                    .label("differs by case alone, which SQL does not see"),
                );
            }
            if key.name.is_empty() {
                self.problems.push(
                    Diagnostic::error("bad-name", key.span, "a column needs a name")
                        .label("expected a name"),
                );
            }
            seen.push(key);
        }
    }

    fn column(&mut self, key: &Key, raw: &RawColumn) -> Option<Column> {
        let (text, format) = match raw {
            RawColumn::Short(text) => (text, None),
            RawColumn::Long(long) => {
                let format = match &long.format {
                    Field::Given(format, span) => Some((timestamp_format(*format), *span)),
                    Field::Absent | Field::Broken => None,
                };
                (long.ty.given()?, format)
            }
        };
        let (ty, nullable) = match types::parse(&text.value) {
            Ok(read) => read,
            Err(misread) => {
                self.misread("bad-type", text, misread);
                return None;
            }
        };
        if let (Some((_, span)), false) = (format, ty == SqlType::Timestamp) {
            self.problems.push(
                Diagnostic::error("bad-format", span, format!("{ty} has no `format`"))
                    .label("only a TIMESTAMP column has one"),
            );
        }
        Some(Column {
            name: key.name.clone(),
            ty,
            nullable,
            timestamp_format: format.map(|(format, _)| format).unwrap_or_default(),
            span: key.span,
        })
    }

    /// The outer `None`: refused. The inner one: the source has no event time.
    #[allow(
        clippy::option_option,
        reason = "the outer one is this module's way to fail"
    )]
    fn event_time(
        &mut self,
        source: &Key,
        field: &Field<RawEventTime>,
        columns: Option<&[NamedColumn]>,
    ) -> Option<Option<EventTime>> {
        let raw = match field {
            Field::Given(raw, _) => raw,
            Field::Absent => return Some(None),
            Field::Broken => return None,
        };
        let delay = self.duration(&raw.delay, "0 seconds");
        let idle_after = self.positive(&raw.idle_after, DEFAULT_IDLE_AFTER);
        let max_future = self.duration(&raw.max_future, DEFAULT_MAX_FUTURE);
        self.plausible(raw, delay);
        let column = raw.column.given()?;
        let index = self.event_time_column(source, column, columns?);
        Some(Some(EventTime {
            column: index?,
            delay: delay?,
            idle_after: idle_after?,
            max_future: max_future?,
        }))
    }

    fn plausible(&mut self, raw: &RawEventTime, delay: Option<Duration>) {
        const DAY: Duration = Duration::from_hours(24);
        if let (Some(delay), Some(text)) = (delay, raw.delay.given())
            && delay > DAY
        {
            self.problems.push(
                Diagnostic::warning(
                    "long-delay",
                    text.span,
                    "windows stay open for longer than a day",
                )
                .label("their state is kept in memory that long"),
            );
        }
    }

    fn event_time_column(
        &mut self,
        source: &Key,
        text: &Text,
        columns: &[NamedColumn],
    ) -> Option<usize> {
        let timestamps = || {
            columns
                .iter()
                .filter_map(|(_, column)| column.as_ref())
                .filter(|column| column.ty == SqlType::Timestamp)
                .map(|column| column.name.as_str())
        };
        let Some(index) = columns.iter().position(|(name, _)| *name == text.value) else {
            let names = columns.iter().map(|(name, _)| name.as_str());
            let help = closest(&text.value, names).map(|name| format!("did you mean `{name}`?"));
            self.problems.push(
                Diagnostic::error(
                    "unknown-column",
                    place(text, 0..text.value.len()),
                    format!("source `{}` has no such column", source.name.escape_debug()),
                )
                .label(match list(timestamps(), "or") {
                    names if names.is_empty() => "expected a TIMESTAMP column".to_owned(),
                    names => format!("expected a TIMESTAMP column: {names}"),
                })
                .maybe_help(help),
            );
            return None;
        };
        let column = columns[index].1.as_ref()?;
        if column.ty != SqlType::Timestamp {
            let help = match timestamps().next() {
                Some(name) => format!("`{name}` is a TIMESTAMP"),
                None => format!(
                    "declare it so: {} = {{ type = \"TIMESTAMP\", format = \"epoch_millis\" }}",
                    column.name
                ),
            };
            self.problems.push(
                Diagnostic::error(
                    "bad-event-time",
                    place(text, 0..text.value.len()),
                    format!("event time cannot be a {}", column.ty),
                )
                .label("expected a TIMESTAMP column")
                .help(help),
            );
            return None;
        }
        Some(index)
    }
}

/// The columns, if none was refused.
fn complete(columns: Vec<NamedColumn>) -> Option<Vec<Column>> {
    columns.into_iter().map(|(_, column)| column).collect()
}

/// A source that begins where it begins and loses nothing.
fn from_its_beginning(
    key: &Key,
    kind: SourceKind,
    columns: Vec<Column>,
    event_time: Option<EventTime>,
    on_bad_record: OnBadRecord,
) -> Source {
    Source {
        name: key.name.clone(),
        span: key.span,
        kind,
        columns,
        event_time,
        start: Start::Earliest,
        on_bad_record,
        on_lost_position: OnLostPosition::Fail,
    }
}

fn timestamp_format(raw: RawTimestampFormat) -> TimestampFormat {
    match raw {
        RawTimestampFormat::Rfc3339 => TimestampFormat::Rfc3339,
        RawTimestampFormat::EpochSeconds => TimestampFormat::EpochSeconds,
        RawTimestampFormat::EpochMillis => TimestampFormat::EpochMillis,
        RawTimestampFormat::EpochMicros => TimestampFormat::EpochMicros,
    }
}

fn generator_columns(key: &Key) -> impl Iterator<Item = Column> {
    GENERATOR_COLUMNS
        .into_iter()
        .map(|(name, ty, nullable)| Column {
            name: name.to_owned(),
            ty,
            nullable,
            timestamp_format: TimestampFormat::Rfc3339,
            span: key.span,
        })
}
