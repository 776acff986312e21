//! The JSON decoder against its model: any bytes, any of a few schemas.
//!
//! `cargo +nightly fuzz run decode` from the repository's root. The first byte of an input chooses
//! the schema, the rest is the record. It must be accepted exactly when the model accepts it,
//! become the row the model says, and leave its neighbours in the batch alone.

#![no_main]

#[path = "../../crates/engine/src/decode/tests/model.rs"]
mod model;

use floodmark_engine::decode::JsonDecoder;
use floodmark_pipeline::{Column, Span, SqlType, TimestampFormat};
use libfuzzer_sys::fuzz_target;

/// A record that every schema accepts.
const NEIGHBOUR: &[u8] = br#"{"a":null,"id":"x"}"#;

fn schema(choice: u8) -> Vec<Column> {
    let format = match choice / 4 % 4 {
        0 => TimestampFormat::Rfc3339,
        1 => TimestampFormat::EpochSeconds,
        2 => TimestampFormat::EpochMillis,
        _ => TimestampFormat::EpochMicros,
    };
    let column = |name: &str, ty| Column {
        name: name.into(),
        ty,
        nullable: name != "id",
        timestamp_format: format,
        span: Span::default(),
    };
    let id = column("id", SqlType::String);
    let rest = match choice % 4 {
        0 => vec![
            column("a", SqlType::Timestamp),
            column("b", SqlType::Double),
            column("c", SqlType::String),
        ],
        1 => vec![
            column("a", SqlType::Decimal(12, 3)),
            column("b", SqlType::BigInt),
            column("c", SqlType::Int),
            column("d", SqlType::Float),
        ],
        2 => vec![
            column("a", SqlType::Date),
            column("b", SqlType::Binary),
            column("c", SqlType::Boolean),
        ],
        _ => vec![
            column("a", SqlType::Array(SqlType::Timestamp.into())),
            column(
                "b",
                SqlType::Map(SqlType::String.into(), SqlType::Double.into()),
            ),
            column(
                "c",
                SqlType::Struct(vec![
                    ("x".into(), SqlType::Decimal(38, 10)),
                    ("y".into(), SqlType::Array(SqlType::String.into())),
                ]),
            ),
        ],
    };
    std::iter::once(id).chain(rest).collect()
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, record)) = input.split_first() else {
        return;
    };
    let columns = schema(choice);
    let mut decoder = JsonDecoder::new(&columns, 3);
    assert_eq!(decoder.decode(NEIGHBOUR), Ok(()));
    let decoded = decoder.decode(record);
    assert_eq!(decoder.decode(NEIGHBOUR), Ok(()));
    let batch = decoder.finish().expect("no input makes finish fail");

    let neighbour = model::expected(&columns, NEIGHBOUR).expect("every schema accepts it");
    let expected = model::expected(&columns, record);
    assert_eq!(expected.is_some(), decoded.is_ok(), "{decoded:?}");
    let rows = [Some(neighbour.clone()), expected, Some(neighbour)];
    let rows: Vec<_> = rows.into_iter().flatten().collect();
    let got: Vec<_> = (0..batch.num_rows())
        .map(|row| model::row(&batch, row))
        .collect();
    assert_eq!(got, rows);
});
