//! The decoder against the model: random schemas with random records, and damaged records.

use floodmark_pipeline::{Column, Span, SqlType, TimestampFormat};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::JsonDecoder;
use super::model;
use super::records::{mutate, write};

/// Decodes all records into one batch; each must be accepted or refused as the model says, and
/// the batch must hold the accepted rows, value by value. Returns how many were accepted.
fn agrees(columns: &[Column], records: &[Vec<u8>]) -> Result<usize, String> {
    let mut decoder = JsonDecoder::new(columns, 4);
    let mut rows = Vec::new();
    for record in records {
        let shown = String::from_utf8_lossy(record);
        match (model::expected(columns, record), decoder.decode(record)) {
            (Some(row), Ok(())) => rows.push((row, shown)),
            (None, Err(_)) => {}
            (Some(_), Err(reject)) => return Err(format!("refused ({reject}): {shown}")),
            (None, Ok(())) => return Err(format!("accepted: {shown}")),
        }
    }
    let batch = decoder.finish().map_err(|error| error.to_string())?;
    if batch.num_rows() != rows.len() {
        return Err(format!(
            "{} rows where {} were accepted",
            batch.num_rows(),
            rows.len()
        ));
    }
    for (at, (row, shown)) in rows.iter().enumerate() {
        let got = model::row(&batch, at);
        if got != *row {
            return Err(format!("{shown}\n  decoded  {got:?}\n  expected {row:?}"));
        }
    }
    Ok(rows.len())
}

fn column(name: &str, ty: SqlType, nullable: bool, format: TimestampFormat) -> Column {
    Column {
        name: name.into(),
        ty,
        nullable,
        timestamp_format: format,
        span: Span::default(),
    }
}

fn any_type() -> impl Strategy<Value = SqlType> {
    let flat = prop_oneof![
        Just(SqlType::String),
        Just(SqlType::Boolean),
        Just(SqlType::Int),
        Just(SqlType::BigInt),
        Just(SqlType::Float),
        Just(SqlType::Double),
        (1..=38u8)
            .prop_flat_map(|p| (Just(p), 0..=p))
            .prop_map(|(p, s)| SqlType::Decimal(p, s)),
        Just(SqlType::Date),
        Just(SqlType::Timestamp),
        Just(SqlType::Binary),
    ];
    flat.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|ty| SqlType::Array(ty.into())),
            inner
                .clone()
                .prop_map(|ty| SqlType::Map(SqlType::String.into(), ty.into())),
            proptest::collection::vec(inner, 0..3).prop_map(|types| {
                let names = ["x", "y z", "ü"].map(String::from);
                SqlType::Struct(names.into_iter().zip(types).collect())
            }),
        ]
    })
}

fn any_columns() -> impl Strategy<Value = Vec<Column>> {
    let names = [
        "id",
        "a \"quoted\" name",
        "a_name_longer_than_sixteen",
        "名",
        "",
        "b",
    ];
    let format = prop_oneof![
        Just(TimestampFormat::Rfc3339),
        Just(TimestampFormat::EpochSeconds),
        Just(TimestampFormat::EpochMillis),
        Just(TimestampFormat::EpochMicros),
    ];
    proptest::collection::vec((any_type(), any::<bool>(), format), 0..names.len()).prop_map(
        move |types| {
            let pairs = names.iter().zip(types);
            pairs
                .map(|(name, (ty, nullable, format))| column(name, ty, nullable, format))
                .collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_record_of_any_schema_decodes_as_the_model_says(
        columns in any_columns(),
        seed in any::<u64>(),
    ) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let records: Vec<_> = (0..20).map(|_| write(&mut rng, &columns)).collect();
        if let Err(difference) = agrees(&columns, &records) {
            prop_assert!(false, "seed {seed}, {columns:?}\n{difference}");
        }
    }
}

#[test]
fn damaged_records_are_accepted_exactly_when_the_model_accepts_them() {
    const SEED: u64 = 7;
    const ROUNDS: usize = 6_000;
    const RECORDS: usize = 60;
    let plain = |name, ty| column(name, ty, true, TimestampFormat::Rfc3339);
    let columns = [
        column(
            "device_id",
            SqlType::String,
            false,
            TimestampFormat::Rfc3339,
        ),
        column("ts", SqlType::Timestamp, false, TimestampFormat::Rfc3339),
        plain("temperature_c", SqlType::Double),
        plain("count", SqlType::BigInt),
        plain("price", SqlType::Decimal(9, 2)),
        plain("tags", SqlType::Array(SqlType::String.into())),
        plain("at", SqlType::Struct(vec![("lat".into(), SqlType::Double)])),
        plain(
            "attrs",
            SqlType::Map(SqlType::String.into(), SqlType::Int.into()),
        ),
    ];
    let records: [&str; 3] = [
        r#"{"device_id":"MTR-00123","ts":"2025-08-17T12:34:56.789Z","temperature_c":78.6,"count":3}"#,
        r#"{"device_id":"é🦀\n","x":[1.5e3,{"y":null,"z":[true,false]}],"ts":"2025-08-17T12:34:56+02:00","tags":["a",null],"k":"\ud83e\udd80"}"#,
        r#"{ "ts" : "1999-12-31T23:59:59Z", "price":12.345, "at":{"lat":-0.5}, "attrs":{"a":1}, "device_id":7 }"#,
    ];
    let mut rng = SmallRng::seed_from_u64(SEED);
    let mut accepted = 0;
    for round in 0..ROUNDS {
        let damaged: Vec<Vec<u8>> = (0..RECORDS)
            .map(|at| {
                let mut record = records[at % records.len()].as_bytes().to_vec();
                mutate(&mut rng, &mut record);
                record
            })
            .collect();
        match agrees(&columns, &damaged) {
            Ok(rows) => accepted += rows,
            Err(difference) => panic!("seed {SEED}, round {round}: {difference}"),
        }
    }
    let share = accepted as f64 / (ROUNDS * RECORDS) as f64;
    assert!(
        (0.05..0.95).contains(&share),
        "a test of both answers, but {share} were accepted"
    );
}

#[test]
fn the_largest_doubles_are_in_range_to_the_last_digit() {
    let columns = [column("c", SqlType::Double, true, TimestampFormat::Rfc3339)];
    let numbers = [
        ("1.7976931348623157e308", true),
        ("1.7976931348623158e308", true),
        ("-179769313486231570000e288", true),
        ("1.797693134862315808e308", false),
        ("1.7976931348623159e308", false),
        ("-1e309", false),
    ];
    for (number, finite) in numbers {
        for name in ["c", "other"] {
            let record = format!("\n{{\"x\":[1],\n \"{name}\" :{number}}}").into_bytes();
            assert_eq!(
                agrees(&columns, &[record]),
                Ok(usize::from(finite)),
                "{number}"
            );
        }
    }
}
