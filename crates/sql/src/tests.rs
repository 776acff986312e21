//! Programs evaluated over small batches, and refusals with their places.

mod evaluation;
mod refusals;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use floodmark_pipeline::{
    Checkpoint, Column, Compression, EngineOptions, EventTime, FileSource, KafkaCluster, KafkaSink,
    Location, OnBadRecord, OnLostPosition, Output, ParquetSink, Pipeline, Sink, Source, SourceKind,
    Span, SqlText, SqlType, Start, Storage, TimestampFormat, View,
};

use super::{OutputKind, OutputPlan, SqlProblem, UTC, apply_all, plan};
use crate::schema::arrow_schema;
use crate::units::EventMicros;

/// 2025-08-17T12:34:56.789Z.
const T: i64 = 1_755_434_096_789_000;

fn sql(text: &str) -> SqlText {
    SqlText {
        text: text.into(),
        span: Span::default(),
        verbatim_at: None,
    }
}

fn column(name: &str, ty: SqlType, nullable: bool) -> Column {
    let timestamp_format = TimestampFormat::default();
    Column {
        name: name.into(),
        ty,
        nullable,
        timestamp_format,
        span: Span::default(),
    }
}

fn pipeline(views: &[(&str, &str)], outputs: Vec<Output>) -> Pipeline {
    let seconds = Duration::from_secs;
    Pipeline {
        name: "sensors".into(),
        sources: vec![Source {
            name: "sensor_events".into(),
            span: Span::default(),
            kind: SourceKind::File(FileSource { paths: Vec::new() }),
            columns: vec![
                column("device_id", SqlType::String, false),
                column("ts", SqlType::Timestamp, false),
                column("temperature_c", SqlType::Double, true),
                column("vibration_g", SqlType::Double, true),
                column("status", SqlType::String, true),
                column("siteName", SqlType::String, true),
                column("line", SqlType::Int, true),
                column("amount", SqlType::Decimal(10, 2), true),
                column("seen", SqlType::Timestamp, true),
                column(
                    "place",
                    SqlType::Struct(vec![("City".into(), SqlType::String)]),
                    true,
                ),
            ],
            event_time: Some(EventTime {
                column: 1,
                delay: seconds(10),
                idle_after: seconds(30),
                max_future: seconds(300),
            }),
            start: Start::Earliest,
            on_bad_record: OnBadRecord::Skip,
            on_lost_position: OnLostPosition::Fail,
        }],
        views: views
            .iter()
            .map(|(n, q)| View {
                name: (*n).into(),
                query: sql(q),
            })
            .collect(),
        outputs,
        dead_letter: None,
        late: None,
        checkpoint: Checkpoint {
            location: Location::Local("checkpoints".into()),
            interval: seconds(10),
            retain: 3,
        },
        storage: Storage::default(),
        engine: EngineOptions {
            workers: None,
            batch_rows: 8_192,
        },
    }
}

fn output(query: &str) -> Output {
    Output {
        name: "out".into(),
        query: sql(query),
        sink: Sink::Console,
    }
}

fn parquet(query: &str, partition_by: &[(&str, &str)]) -> Output {
    let sink = ParquetSink {
        location: Location::Local("out".into()),
        partition_by: partition_by
            .iter()
            .map(|(n, e)| ((*n).into(), sql(e)))
            .collect(),
        compression: Compression::Zstd,
        row_group_rows: 1_000,
        target_file_bytes: 1_000,
        roll_interval: None,
    };
    Output {
        sink: Sink::Parquet(sink),
        ..output(query)
    }
}

fn kafka(query: &str, key: Option<&str>, headers: &[(&str, &str)]) -> Output {
    let sink = KafkaSink {
        cluster: KafkaCluster {
            brokers: "localhost:9092".into(),
            properties: [].into(),
        },
        topic: "out".into(),
        partitions: 1,
        key: key.map(sql),
        headers: headers.iter().map(|(n, e)| ((*n).into(), sql(e))).collect(),
        commit_interval: Duration::from_millis(50),
    };
    Output {
        sink: Sink::Kafka(sink),
        ..output(query)
    }
}

/// Plans one output.
fn planned(views: &[(&str, &str)], output: Output) -> OutputPlan {
    match plan(&pipeline(views, vec![output])) {
        Ok(mut plan) => plan.outputs.remove(0),
        Err(problems) => panic!("{problems:#?}"),
    }
}

/// The problems of one output.
fn refused(views: &[(&str, &str)], output: Output) -> Vec<SqlProblem> {
    match plan(&pipeline(views, vec![output])) {
        Ok(plan) => panic!("planned: {plan:#?}"),
        Err(problems) => problems,
    }
}

/// Three rows: hot, shaking, and one that has nothing.
fn rows() -> RecordBatch {
    let source = &pipeline(&[], Vec::new()).sources[0];
    let schema = arrow_schema(&source.columns);
    let instants = |values: Vec<Option<i64>>| {
        Arc::new(TimestampMicrosecondArray::from(values).with_timezone(UTC)) as ArrayRef
    };
    let text = |values: Vec<Option<&str>>| Arc::new(StringArray::from(values)) as ArrayRef;
    let city = text(vec![Some("Graz"), None, Some("Linz")]);
    let fields = vec![arrow::datatypes::Field::new(
        "City",
        city.data_type().clone(),
        true,
    )];
    let place = arrow::array::StructArray::new(fields.into(), vec![city], None);
    let amount = arrow::array::Decimal128Array::from(vec![Some(1_050), Some(-25), None])
        .with_precision_and_scale(10, 2)
        .expect("ten digits, two after the point");
    let columns: Vec<ArrayRef> = vec![
        text(vec![Some("a"), Some("b"), Some("a")]),
        instants(vec![Some(T), Some(T + 60_000_000), Some(T)]),
        Arc::new(Float64Array::from(vec![Some(90.0), None, None])),
        Arc::new(Float64Array::from(vec![Some(0.25), Some(0.75), None])),
        text(vec![Some("OK"), Some("FAULT"), None]),
        text(vec![Some("fab1"), Some("fab2"), None]),
        Arc::new(Int32Array::from(vec![Some(7), Some(-7), None])),
        Arc::new(amount),
        instants(vec![Some(T + 1), None, None]),
        Arc::new(place),
    ];
    RecordBatch::try_new(schema, columns).expect("columns of the schema")
}

/// A column as text, null as `-`.
fn show(array: &dyn arrow::array::Array) -> Vec<String> {
    let options = FormatOptions::default().with_null("-");
    let formatter = ArrayFormatter::try_new(array, &options).expect("a type that has text");
    (0..array.len())
        .map(|row| formatter.value(row).to_string())
        .collect()
}

/// Evaluates one expression over the three rows.
fn eval(expr: &str) -> Vec<String> {
    let output = output(&format!("SELECT {expr} AS x FROM sensor_events"));
    match plan(&pipeline(&[], vec![output])) {
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
        Ok(plan) => match apply_all(&plan.outputs[0].before, rows()) {
            Ok(rows) => show(rows.column(0)),
            Err(error) => vec![error.to_string()],
        },
    }
}

/// Runs a windowed plan over the three rows as one window that starts at `start`, all rows in
/// groups by the first key.
fn fire(plan: &OutputPlan, start: i64) -> RecordBatch {
    let OutputKind::Windowed(window) = &plan.kind else {
        panic!("no window")
    };
    let rows = apply_all(&plan.before, rows()).expect("evaluates");
    let times = super::evaluate(&window.event_time, &rows).expect("evaluates");
    let times = times.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    let inside: arrow::array::BooleanArray = times
        .iter()
        .map(|t| t.map(|t| window.size.start(EventMicros(t)) == Some(EventMicros(start))))
        .collect();
    let batch = arrow::compute::filter_record_batch(&rows, &inside).expect("aligned");
    let keys: Vec<ArrayRef> = window
        .keys
        .iter()
        .map(|(key, _)| super::evaluate(key, &batch).expect("evaluates"))
        .collect();
    // One group: the tests take windows whose rows share their keys.
    let groups = vec![0; batch.num_rows()];
    let aggregates: Vec<ArrayRef> = window
        .aggregates
        .iter()
        .map(|aggregate| {
            let mut accumulator = aggregate.accumulator().expect("an accumulator");
            let values = aggregate.arguments(&batch).expect("evaluates");
            let mask = aggregate.mask(&batch).expect("evaluates");
            accumulator
                .update_batch(&values, &groups, mask.as_ref(), 1)
                .expect("accumulates");
            let state = accumulator
                .state(datafusion_expr::EmitTo::All)
                .expect("has a state");
            assert_eq!(
                state.len(),
                aggregate.state_fields().expect("has a state").len()
            );
            let mut merged = aggregate.accumulator().expect("an accumulator");
            merged.merge_batch(&state, &[0], 1).expect("merges");
            merged
                .evaluate(datafusion_expr::EmitTo::All)
                .expect("has a result")
        })
        .collect();
    let keys = keys.iter().map(|key| key.slice(0, 1)).collect();
    let columns = window.assemble(EventMicros(start), keys, aggregates, 1);
    let fired = RecordBatch::try_new(Arc::clone(&window.schema), columns).expect("the schema");
    apply_all(&plan.after, fired).expect("evaluates")
}
