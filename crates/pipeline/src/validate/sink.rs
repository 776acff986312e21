//! Sinks of outputs, dead letters and late rows.

use crate::diagnostic::Diagnostic;
use crate::field::Field;
use crate::node::{Key, Text};
use crate::raw::{
    DEFAULT_COMMIT_INTERVAL, DEFAULT_PARTITIONS, DEFAULT_ROW_GROUP_ROWS, DEFAULT_TARGET_FILE_SIZE,
    RawCompression, RawKafkaSink, RawParquetSink, RawPipeline, RawSideSink, RawSink,
};
use crate::{
    Compression, KafkaCluster, KafkaSink, Location, ParquetSink, Pipeline, Sink, SourceKind, Span,
};

use super::Validator;

/// Largest `target_file_size` in a bucket: S3 copies at most 5 GiB in one request, and a file's last
/// row group comes on top.
const MAX_BUCKET_FILE_BYTES: u64 = 4_000_000_000;

impl Validator<'_> {
    pub(super) fn sink(&mut self, output: &Key, raw: &RawSink) -> Option<Sink> {
        let what = format!("the rows of `{}`", output.name.escape_debug());
        match raw {
            RawSink::Parquet(raw) => self.parquet(&what, raw),
            RawSink::Kafka(raw) => self.kafka_sink(output.span, raw),
            RawSink::Console(_) => {
                self.problems.push(
                    Diagnostic::note(
                        "at-least-once",
                        output.span,
                        "the console shows each row at least once",
                    )
                    .label("rows are shown again after a restart"),
                );
                Some(Sink::Console)
            }
        }
    }

    /// The outer `None`: refused. The inner one: there is no such sink.
    #[allow(
        clippy::option_option,
        reason = "the outer one is this module's way to fail"
    )]
    pub(super) fn side_sink(
        &mut self,
        what: &str,
        field: &Field<RawSideSink>,
    ) -> Option<Option<Sink>> {
        match field {
            Field::Given(RawSideSink::Parquet(raw), _) => self.parquet(what, raw).map(Some),
            Field::Given(RawSideSink::Kafka(raw), span) => self.kafka_sink(*span, raw).map(Some),
            Field::Absent => Some(None),
            Field::Broken => None,
        }
    }

    fn parquet(&mut self, what: &str, raw: &RawParquetSink) -> Option<Sink> {
        let location = self.location(what, &raw.path);
        let partition_by = self.expressions(&raw.partition_by);
        let target_file_bytes = self.size(&raw.target_file_size, DEFAULT_TARGET_FILE_SIZE);
        let roll_interval = match &raw.roll_interval {
            Field::Absent => Some(None),
            given => self.duration(given, "0 seconds").map(Some),
        };
        self.partition_names(raw);
        if let (Some(Location::S3 { .. }), Some(bytes)) = (&location, target_file_bytes)
            && bytes > MAX_BUCKET_FILE_BYTES
            && let Field::Given(size, _) = &raw.target_file_size
        {
            let problem = "files in a bucket cannot be that large";
            self.problems.push(
                Diagnostic::error("out-of-range", size.span, problem)
                    .label("expected at most 4 GB"),
            );
        }
        Some(Sink::Parquet(ParquetSink {
            location: location?,
            partition_by: partition_by?,
            compression: match raw.compression.given() {
                Some(RawCompression::Zstd) | None => Compression::Zstd,
                Some(RawCompression::Snappy) => Compression::Snappy,
                Some(RawCompression::None) => Compression::None,
            },
            row_group_rows: raw
                .row_group_rows
                .given()
                .copied()
                .unwrap_or(DEFAULT_ROW_GROUP_ROWS),
            target_file_bytes: target_file_bytes?,
            roll_interval: roll_interval?,
        }))
    }

    /// A partition's name becomes a directory `name=value` and a reader's column.
    fn partition_names(&mut self, raw: &RawParquetSink) {
        let Some(table) = raw.partition_by.given() else {
            return;
        };
        for (key, _) in &table.0 {
            self.identifier(key, "a partition");
        }
    }

    fn kafka_sink(&mut self, place: Span, raw: &RawKafkaSink) -> Option<Sink> {
        let cluster = self.sink_cluster(place, raw);
        let topic = self.topic(&raw.topic);
        let key = match raw.key.given() {
            Some(key) => self.query(key).map(Some),
            None => Some(None),
        };
        let headers = self.expressions(&raw.headers);
        let commit_interval = self.positive(&raw.commit_interval, DEFAULT_COMMIT_INTERVAL);
        Some(Sink::Kafka(KafkaSink {
            cluster: cluster?,
            topic: topic?,
            partitions: raw
                .partitions
                .given()
                .copied()
                .unwrap_or(DEFAULT_PARTITIONS),
            key: key?,
            headers: headers?,
            commit_interval: commit_interval?,
        }))
    }

    /// A topic that is read and written by the same pipeline feeds it its own results for ever.
    pub(super) fn loops(&mut self, pipeline: &Pipeline, raw: &RawPipeline) {
        let outputs = raw.outputs.given().map(|table| table.0.iter());
        let outputs = outputs
            .into_iter()
            .flatten()
            .zip(&pipeline.outputs)
            .filter_map(|((_, raw), output)| match raw.given()?.sink.given()? {
                RawSink::Kafka(raw) => Some((&raw.topic, &output.sink)),
                _ => None,
            });
        let side = |raw| match raw {
            &Field::Given(RawSideSink::Kafka(ref raw), _) => Some(&raw.topic),
            _ => None,
        };
        let dead_letter =
            side(&raw.dead_letter).zip(pipeline.dead_letter.as_ref().map(|dead| &dead.sink));
        let late = side(&raw.late).zip(pipeline.late.as_ref().map(|late| &late.sink));
        let sinks: Vec<(&Field<Text>, &Sink)> = outputs.chain(dead_letter).chain(late).collect();
        for (topic, sink) in sinks {
            if let Sink::Kafka(sink) = sink
                && reads(pipeline, &sink.cluster, &sink.topic)
            {
                self.problems.push(
                    Diagnostic::error(
                        "feedback-loop",
                        topic.span().unwrap_or_default(),
                        "the pipeline reads this topic too",
                    )
                    .label("what is written here would come back as input"),
                );
            }
        }
    }
}

fn reads(pipeline: &Pipeline, cluster: &KafkaCluster, topic: &str) -> bool {
    pipeline.sources.iter().any(|source| match &source.kind {
        SourceKind::Kafka(kafka) => {
            kafka.topic == topic && kafka.cluster.brokers == cluster.brokers
        }
        SourceKind::File(_) | SourceKind::Generator(_) => false,
    })
}
