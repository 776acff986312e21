//! The reference pipeline is read as it is written.

use std::time::Duration;

use floodmark_pipeline::{
    Location, OnBadRecord, OnLostPosition, Pipeline, Sink, SourceKind, SqlType, Start, parse,
};

const SENSORS: &str = include_str!("../../../../pipelines/sensors.toml");

fn sensors() -> Pipeline {
    let (pipeline, notes) = parse(SENSORS, &|_| None).expect("the reference file is valid");
    assert_eq!(notes, []);
    pipeline
}

#[test]
fn the_source_has_its_columns_in_file_order() {
    let pipeline = sensors();
    let [source] = pipeline.sources.as_slice() else {
        panic!("one source");
    };
    let columns: Vec<_> = source
        .columns
        .iter()
        .map(|column| (column.name.as_str(), &column.ty, column.nullable))
        .collect();
    assert_eq!(
        columns,
        [
            ("device_id", &SqlType::String, false),
            ("ts", &SqlType::Timestamp, false),
            ("temperature_c", &SqlType::Double, true),
            ("vibration_g", &SqlType::Double, true),
            ("status", &SqlType::String, true),
            ("site", &SqlType::String, true),
            ("line", &SqlType::String, true),
        ]
    );
    let event_time = source.event_time.as_ref().expect("has event time");
    assert_eq!(event_time.column, 1);
    assert_eq!(event_time.delay, Duration::from_secs(10));
    assert_eq!(event_time.idle_after, Duration::from_secs(30));
    assert_eq!(event_time.max_future, Duration::from_mins(5));
    assert_eq!(source.start, Start::Earliest);
    assert_eq!(source.on_bad_record, OnBadRecord::DeadLetter);
    assert_eq!(source.on_lost_position, OnLostPosition::Fail);
}

#[test]
fn variables_are_filled_in() {
    let brokers = |environment: &dyn Fn(&str) -> Option<String>| {
        let (pipeline, _) = parse(SENSORS, environment).expect("valid");
        match &pipeline.sources[0].kind {
            SourceKind::Kafka(kafka) => kafka.cluster.brokers.clone(),
            other => panic!("not Kafka: {other:?}"),
        }
    };
    assert_eq!(brokers(&|_| None), "localhost:9092");
    assert_eq!(
        brokers(&|name| (name == "KAFKA_BROKERS").then(|| "a:1, b:2".to_owned())),
        "a:1,b:2"
    );
}

#[test]
fn sinks_have_their_defaults_and_the_cluster_of_the_source() {
    let pipeline = sensors();
    let [curated, alerts] = pipeline.outputs.as_slice() else {
        panic!("two outputs");
    };
    let Sink::Parquet(parquet) = &curated.sink else {
        panic!("parquet");
    };
    assert_eq!(parquet.location.to_string(), "s3://rt-stream/curated");
    let partitions: Vec<_> = parquet
        .partition_by
        .iter()
        .map(|(name, sql)| (name.as_str(), sql.text.as_str()))
        .collect();
    assert_eq!(
        partitions,
        [
            ("date", "date_format(window_start, 'yyyy-MM-dd')"),
            ("hour", "date_format(window_start, 'HH')"),
        ]
    );
    assert_eq!(parquet.target_file_bytes, 128_000_000);
    let Sink::Kafka(kafka) = &alerts.sink else {
        panic!("kafka");
    };
    assert_eq!(kafka.cluster.brokers, "localhost:9092");
    assert_eq!(
        kafka.key.as_ref().map(|key| key.text.as_str()),
        Some("device_id")
    );
    assert_eq!(kafka.commit_interval, Duration::from_millis(50));
    assert_eq!(
        pipeline.checkpoint.location,
        Location::S3 {
            bucket: "rt-stream".into(),
            prefix: "_chk".into()
        }
    );
}

#[test]
fn sql_knows_its_place_to_the_byte() {
    let pipeline = sensors();
    let query = &pipeline.outputs[0].query;
    let at = query.text.find("GROUP BY").expect("groups");
    let span = query.locate(at..at + 8);
    assert_eq!(&SENSORS[span.start..span.end], "GROUP BY");
    let view = &pipeline.views[0].query;
    assert_eq!(
        &SENSORS[view.locate(0..6).start..view.locate(0..6).end],
        "SELECT"
    );
    assert_eq!(view.locate(0..usize::MAX), view.span);
}
