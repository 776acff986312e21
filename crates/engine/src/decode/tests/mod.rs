//! The decoder's promises about rows, batches and reasons.

mod model;
mod properties;
mod records;
mod values;

use arrow::array::RecordBatch;
use floodmark_pipeline::{Column, Span, SqlType, TimestampFormat};

use self::model::Datum;
use super::{JsonDecoder, MAX_DEPTH, Reject};

fn column(ty: SqlType) -> Column {
    Column {
        name: "c".into(),
        ty,
        nullable: true,
        timestamp_format: TimestampFormat::Rfc3339,
        span: Span::default(),
    }
}

fn required(ty: SqlType) -> Column {
    Column {
        nullable: false,
        ..column(ty)
    }
}

fn decode(column: &Column, record: &[u8]) -> Result<Datum, Reject> {
    let mut decoder = JsonDecoder::new(std::slice::from_ref(column), 1);
    decoder.decode(record)?;
    let batch = decoder.finish().unwrap();
    Ok(model::row(&batch, 0).remove(0))
}

/// The value of column `c` for `{"c":<json>}`.
fn value(ty: SqlType, json: &str) -> Result<Datum, Reject> {
    decode(&column(ty), format!("{{\"c\":{json}}}").as_bytes())
}

fn epoch(format: TimestampFormat, json: &str) -> Result<Datum, Reject> {
    let column = Column {
        timestamp_format: format,
        ..column(SqlType::Timestamp)
    };
    decode(&column, format!("{{\"c\":{json}}}").as_bytes())
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "stands beside `decode` in assertions"
)]
fn text(text: &str) -> Result<Datum, Reject> {
    Ok(Datum::Text(text.into()))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "stands beside `decode` in assertions"
)]
fn int(value: i128) -> Result<Datum, Reject> {
    Ok(Datum::Int(value))
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "stands beside `decode` in assertions"
)]
fn double(value: f64) -> Result<Datum, Reject> {
    Ok(Datum::Double(value.to_bits()))
}

#[track_caller]
fn refused(result: Result<Datum, Reject>, code: &str) {
    match result {
        Ok(datum) => panic!("accepted as {datum:?}"),
        Err(reject) => assert_eq!(reject.code(), code, "{reject}"),
    }
}

#[track_caller]
fn reason(column: &Column, record: &[u8]) -> String {
    decode(column, record).unwrap_err().to_string()
}

fn finish(decoder: &mut JsonDecoder) -> RecordBatch {
    decoder.finish().unwrap()
}

#[test]
fn of_duplicate_keys_the_last_wins_even_with_null() {
    let ty = || SqlType::Int;
    assert_eq!(decode(&column(ty()), br#"{"c":1,"c":2}"#), int(2));
    assert_eq!(
        decode(&column(ty()), br#"{"c":1,"c":null}"#),
        Ok(Datum::Null)
    );
    assert_eq!(decode(&required(ty()), br#"{"c":null,"c":2}"#), int(2));
    assert_eq!(decode(&column(ty()), br#"{"c":1,"\u0063":3}"#), int(3));
    refused(
        decode(&required(ty()), br#"{"c":1,"c":null}"#),
        "missing-field",
    );
    refused(decode(&column(ty()), br#"{"c":"x","c":2}"#), "wrong-type");
}

#[test]
fn null_is_the_same_as_absent() {
    let ty = || SqlType::Int;
    assert_eq!(decode(&column(ty()), b"{}"), Ok(Datum::Null));
    assert_eq!(decode(&column(ty()), br#"{"c":null}"#), Ok(Datum::Null));
    assert_eq!(decode(&column(ty()), br#"{"C":1}"#), Ok(Datum::Null));
    refused(decode(&required(ty()), b"{}"), "missing-field");
    refused(decode(&required(ty()), br#"{"c":null}"#), "missing-field");
}

#[test]
fn nesting_is_bounded_where_serde_json_bounds_it() {
    for (depth, valid) in [(MAX_DEPTH, true), (MAX_DEPTH + 1, false)] {
        let inside = depth - 1;
        let record = format!("{{\"c\":{}{}}}", "[".repeat(inside), "]".repeat(inside));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&record).is_ok(),
            valid
        );
        for name in ["c", "other"] {
            let column = Column {
                name: name.into(),
                ..column(SqlType::String)
            };
            assert_eq!(
                decode(&column, record.as_bytes()).is_ok(),
                valid,
                "{name} at {depth}"
            );
        }
    }
    let bomb = "{\"c\":".to_owned() + &"[".repeat(1_000_000);
    refused(
        decode(&column(SqlType::String), bomb.as_bytes()),
        "too-deep",
    );
}

#[test]
fn reasons_are_in_words() {
    let c = || column(SqlType::Double);
    let ts = || required(SqlType::Timestamp);
    let at = column(SqlType::Struct(vec![(
        "x".into(),
        SqlType::Array(SqlType::Int.into()),
    )]));
    let cases: [(Column, &[u8], &str); 14] = [
        (
            c(),
            br#"{"c":"hot"}"#,
            "c: expected DOUBLE, found a string at byte 5",
        ),
        (c(), br#"{"c" 1}"#, "not valid JSON at byte 5: expected ':'"),
        (
            c(),
            br#"{"c":1"#,
            "not valid JSON at byte 6: expected ',' or '}'",
        ),
        (c(), b"", "not valid JSON at byte 0: expected '{'"),
        (
            c(),
            b"[1]",
            "expected a JSON object, found an array at byte 0",
        ),
        (
            c(),
            b"{} x",
            "not valid JSON at byte 3: expected nothing after the object",
        ),
        (c(), b"{\"c\":\xff}", "not valid UTF-8 at byte 5"),
        (
            c(),
            br#"{"c":1e999}"#,
            "not valid JSON at byte 5: number beyond the range of a double",
        ),
        (ts(), b"{}", "c: required but missing or null"),
        (
            ts(),
            br#"{"c":"yesterday"}"#,
            "c: 'yesterday' is not an RFC 3339 timestamp",
        ),
        (
            ts(),
            br#"{"c":"a secret that somebody put where a time belongs"}"#,
            "c: the string at byte 5 is not an RFC 3339 timestamp",
        ),
        (
            at,
            br#"{"c":{"x":[1,true]}}"#,
            "c.x[]: expected INT, found a boolean at byte 13",
        ),
        (
            column(SqlType::Decimal(5, 2)),
            br#"{"c":12345}"#,
            "c: value at byte 5 is out of range for DECIMAL(5,2)",
        ),
        (
            column(SqlType::BigInt),
            br#"{"c":1.5}"#,
            "c: expected BIGINT, found a number with a fraction or exponent at byte 5",
        ),
    ];
    for (column, record, expected) in cases {
        assert_eq!(reason(&column, record), expected);
    }
}

#[test]
fn a_refused_record_leaves_no_trace() {
    let columns = [
        Column {
            name: "a".into(),
            ..column(SqlType::String)
        },
        Column {
            name: "b".into(),
            ..column(SqlType::Array(SqlType::String.into()))
        },
        Column {
            name: "c".into(),
            ..column(SqlType::Int)
        },
    ];
    let mut decoder = JsonDecoder::new(&columns, 2);
    decoder.decode(br#"{"a":"1","b":["x"],"c":1}"#).unwrap();
    let bytes = decoder.bytes();
    decoder
        .decode(br#"{"a":"lost","b":["lost",null,"lost"],"c":"bad"}"#)
        .unwrap_err();
    decoder.decode(br#"{"b":["lost",1,{"#).unwrap_err();
    assert_eq!((decoder.rows(), decoder.bytes()), (1, bytes));
    decoder.decode(br#"{"c":2}"#).unwrap();
    decoder.decode(br#"{"a":null,"b":[],"c":3}"#).unwrap();
    let batch = finish(&mut decoder);
    let c: Vec<Datum> = (0..3)
        .map(|row| model::row(&batch, row).remove(2))
        .collect();
    assert_eq!(c, [Datum::Int(1), Datum::Int(2), Datum::Int(3)]);
    assert_eq!(batch.column(0).null_count(), 2);
    assert_eq!(batch.column(1).null_count(), 1);
}

#[test]
fn a_decoder_starts_anew_after_each_batch() {
    let columns = [column(SqlType::String)];
    let mut decoder = JsonDecoder::new(&columns, 1);
    for round in 0..3 {
        decoder
            .decode(format!("{{\"c\":\"{round}\"}}").as_bytes())
            .unwrap();
        decoder.decode(b"{}").unwrap();
        let batch = finish(&mut decoder);
        assert_eq!(batch.schema(), *decoder.schema());
        assert_eq!(model::row(&batch, 0), [Datum::Text(round.to_string())]);
        assert_eq!(model::row(&batch, 1), [Datum::Null]);
        assert_eq!((decoder.rows(), decoder.bytes()), (0, 0));
    }
    assert_eq!(finish(&mut decoder).num_rows(), 0);
}

#[test]
fn a_source_without_columns_still_counts_rows() {
    let mut decoder = JsonDecoder::new(&[], 1);
    decoder.decode(b"{\"a\":1}").unwrap();
    decoder.decode(b"{}").unwrap();
    assert_eq!(finish(&mut decoder).num_rows(), 2);
}

#[test]
fn more_than_64_columns_in_any_order_find_their_place() {
    let columns: Vec<Column> = (0..200)
        .map(|at| Column {
            name: format!("c{at}"),
            ..column(SqlType::Int)
        })
        .collect();
    let mut decoder = JsonDecoder::new(&columns, 1);
    let fields: Vec<String> = (0..200).rev().map(|at| format!("\"c{at}\":{at}")).collect();
    let record = format!("{{{}}}", fields.join(","));
    decoder.decode(record.as_bytes()).unwrap();
    decoder.decode(record.as_bytes()).unwrap();
    let batch = finish(&mut decoder);
    let expected: Vec<Datum> = (0..200).map(Datum::Int).collect();
    assert_eq!(model::row(&batch, 1), expected);
}
