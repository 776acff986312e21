//! From raw structs to a [`Pipeline`]: what keys mean beyond their types.
//!
//! Pure. Every problem is collected; a part that was refused before is passed over in silence. A
//! function that returns `None` has reported why, or the check before it has.

mod kafka;
mod names;
mod sink;
mod source;

use std::ops::Range;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Problems};
use crate::field::{Field, Table};
use crate::location::{self, Overlap};
use crate::node::{Key, Text};
use crate::raw::{
    DEFAULT_BATCH_ROWS, DEFAULT_CHECKPOINT_INTERVAL, DEFAULT_RETAIN, RawCheckpoint, RawEngine,
    RawOutput, RawPipeline, RawS3, RawStorage,
};
use crate::types::Misread;
use crate::{
    Checkpoint, DeadLetter, EngineOptions, KafkaCluster, Late, Location, Output, Pipeline, Secret,
    Span, SqlText, Storage, View, quantity,
};

/// Validates; `None` only with an error among the problems, there or here.
pub(crate) fn pipeline(raw: &RawPipeline, problems: &mut Problems) -> Option<Pipeline> {
    let mut validator = Validator {
        problems,
        pipeline_name: raw.name.given().map(|name| name.value.clone()),
        has_dead_letter: !raw.dead_letter.is_absent(),
        clusters: Vec::new(),
        sources_broken: match &raw.sources {
            Field::Given(Table(sources), _) => {
                sources.iter().any(|(_, source)| source.given().is_none())
            }
            Field::Absent | Field::Broken => true,
        },
        places: Vec::new(),
    };
    validator.pipeline(raw)
}

struct Validator<'a> {
    problems: &'a mut Problems,
    pipeline_name: Option<String>,
    has_dead_letter: bool,
    /// Clusters of the Kafka sources in file order; `None` for one that was refused.
    clusters: Vec<Option<KafkaCluster>>,
    /// Whether a source was refused that might have been a Kafka source.
    sources_broken: bool,
    /// Directories that are written to, what for, and where that is said.
    places: Vec<(Location, String, Span)>,
}

impl Validator<'_> {
    fn pipeline(&mut self, raw: &RawPipeline) -> Option<Pipeline> {
        let name = self.pipeline_name(&raw.name);
        self.table_names(raw);
        let sources = all(raw.sources.given(), |key, source| self.source(key, source));
        let views = all(raw.views.given(), |key, query| {
            Some(View {
                name: key.name.clone(),
                query: self.query(query)?,
            })
        });
        let outputs = all(raw.outputs.given(), |key, output| self.output(key, output));
        let dead_letter = self.side_sink("dead letters", &raw.dead_letter);
        let late = self.side_sink("late rows", &raw.late);
        let checkpoint = self.checkpoint(raw.checkpoint.given());
        let storage = self.storage(raw.storage.given());
        let engine = engine(raw.engine.given());
        self.overlaps();
        let pipeline = Pipeline {
            name: name?,
            sources: sources?,
            views: views?,
            outputs: outputs?,
            dead_letter: dead_letter?.map(|sink| DeadLetter { sink }),
            late: late?.map(|sink| Late { sink }),
            checkpoint: checkpoint?,
            storage,
            engine,
        };
        self.loops(&pipeline, raw);
        Some(pipeline)
    }

    fn output(&mut self, key: &Key, raw: &RawOutput) -> Option<Output> {
        self.identifier(key, "an output");
        self.not_reserved(key);
        let query = raw.query.given().and_then(|query| self.query(query));
        let sink = raw.sink.given().and_then(|sink| self.sink(key, sink));
        Some(Output {
            name: key.name.clone(),
            query: query?,
            sink: sink?,
        })
    }

    fn checkpoint(&mut self, raw: Option<&RawCheckpoint>) -> Option<Checkpoint> {
        let raw = raw?;
        let location = self.location("checkpoints", &raw.path);
        let interval = self.positive(&raw.interval, DEFAULT_CHECKPOINT_INTERVAL);
        Some(Checkpoint {
            location: location?,
            interval: interval?,
            retain: raw.retain.given().copied().unwrap_or(DEFAULT_RETAIN),
        })
    }

    fn storage(&mut self, raw: Option<&RawStorage>) -> Storage {
        let Some(s3) = raw.and_then(|raw| raw.s3.given()) else {
            return Storage::default();
        };
        self.endpoint(s3);
        let text = |field: &Field<Text>| field.given().map(|text| text.value.clone());
        let secret = |field: &Field<Text>| text(field).map(Secret::new);
        Storage {
            endpoint: text(&s3.endpoint),
            region: text(&s3.region),
            access_key_id: secret(&s3.access_key_id),
            secret_access_key: secret(&s3.secret_access_key),
            allow_http: s3.allow_http.given().copied(),
        }
    }

    fn endpoint(&mut self, s3: &RawS3) {
        let Some(endpoint) = s3.endpoint.given() else {
            return;
        };
        let url = endpoint.value.to_ascii_lowercase();
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            self.problems.push(
                Diagnostic::error("bad-endpoint", endpoint.span, "the endpoint is no URL")
                    .label("expected http://… or https://…"),
            );
        } else if url.starts_with("http://") && !s3.allow_http.given().is_some_and(|yes| *yes) {
            self.problems.push(
                Diagnostic::warning(
                    "plain-http",
                    endpoint.span,
                    "this endpoint has no TLS and is refused unless that is allowed",
                )
                .help("add `allow_http = true`, or set AWS_ALLOW_HTTP=true"),
            );
        }
    }

    /// Two writers in one directory would read or delete each other's files.
    fn overlaps(&mut self) {
        for (i, (place, what, span)) in self.places.iter().enumerate() {
            for (other, earlier, _) in &self.places[..i] {
                match location::overlap(place, other) {
                    Overlap::Apart => {}
                    Overlap::Same => self.problems.push(
                        Diagnostic::error(
                            "shared-location",
                            *span,
                            format!("{what} would go where {earlier} go"),
                        )
                        .label("needs a directory of its own"),
                    ),
                    Overlap::Nested => self.problems.push(
                        Diagnostic::warning(
                            "nested-location",
                            *span,
                            format!("{what} and {earlier} go to directories inside one another"),
                        )
                        .label("a reader of the outer one may read both"),
                    ),
                }
            }
        }
    }

    fn query(&mut self, text: &Text) -> Option<SqlText> {
        if text.value.trim().is_empty() {
            self.problems.push(
                Diagnostic::error("missing-value", text.span, "the SQL is empty")
                    .label("expected SQL"),
            );
            return None;
        }
        Some(SqlText {
            text: text.value.clone(),
            span: text.span,
            verbatim_at: text.verbatim_at,
        })
    }

    fn expressions(&mut self, table: &Field<Table<Text>>) -> Option<Vec<(String, SqlText)>> {
        all(table.given(), |key, text| {
            Some((key.name.clone(), self.query(text)?))
        })
    }

    fn location(&mut self, what: &str, field: &Field<Text>) -> Option<Location> {
        let text = field.given()?;
        match location::parse(&text.value) {
            Ok(location) => {
                self.places
                    .push((location.clone(), what.to_owned(), text.span));
                Some(location)
            }
            Err(misread) => {
                self.misread("bad-location", text, misread);
                None
            }
        }
    }

    /// A duration of any length; `None` if it was refused.
    fn duration(&mut self, field: &Field<Text>, default: &str) -> Option<Duration> {
        let text = match field {
            Field::Given(text, _) => text,
            Field::Absent => return quantity::duration(default).ok(),
            Field::Broken => return None,
        };
        quantity::duration(&text.value)
            .map_err(|misread| self.misread("bad-duration", text, misread))
            .ok()
    }

    /// A duration above zero.
    fn positive(&mut self, field: &Field<Text>, default: &str) -> Option<Duration> {
        let duration = self.duration(field, default)?;
        if let (true, Some(text)) = (duration.is_zero(), field.given()) {
            self.problems.push(
                Diagnostic::error("out-of-range", text.span, "this duration cannot be zero")
                    .label("expected more than zero"),
            );
            return None;
        }
        Some(duration)
    }

    fn size(&mut self, field: &Field<Text>, default: &str) -> Option<u64> {
        let text = match field {
            Field::Given(text, _) => text,
            Field::Absent => return quantity::size(default).ok(),
            Field::Broken => return None,
        };
        match quantity::size(&text.value) {
            Ok(0) => {
                self.problems.push(
                    Diagnostic::error("out-of-range", text.span, "this size cannot be zero")
                        .label("expected more than zero"),
                );
                None
            }
            Ok(size) => Some(size),
            Err(misread) => {
                self.misread("bad-size", text, misread);
                None
            }
        }
    }

    fn misread(&mut self, code: &'static str, text: &Text, misread: Misread) {
        let what = match code {
            "bad-duration" => "not a duration",
            "bad-size" => "not a size",
            "bad-type" => "not a column type",
            _ => "not a location",
        };
        self.problems.push(
            Diagnostic::error(code, place(text, misread.range), what)
                .label(misread.message)
                .maybe_help(misread.help),
        );
    }
}

/// Where a range of a text stands; an empty one is widened to the whole.
fn place(text: &Text, range: Range<usize>) -> Span {
    if range.is_empty() {
        text.span
    } else {
        text.locate(range)
    }
}

/// Validates every entry of a table, also after one has failed.
fn all<T, U>(
    table: Option<&Table<T>>,
    mut each: impl FnMut(&Key, &T) -> Option<U>,
) -> Option<Vec<U>> {
    let Some(Table(entries)) = table else {
        return Some(Vec::new());
    };
    let results: Vec<Option<U>> = entries
        .iter()
        .map(|(key, field)| each(key, field.given()?))
        .collect();
    results.into_iter().collect()
}

fn engine(raw: Option<&RawEngine>) -> EngineOptions {
    EngineOptions {
        workers: raw.and_then(|raw| raw.workers.given().copied()),
        batch_rows: raw
            .and_then(|raw| raw.batch_rows.given().copied())
            .unwrap_or(DEFAULT_BATCH_ROWS),
    }
}
