//! Each type's edges.

use floodmark_pipeline::{SqlType, TimestampFormat};

use super::model::Datum;
use super::{column, decode, double, epoch, int, refused, text, value};

#[test]
fn strings_are_unescaped() {
    assert_eq!(
        value(SqlType::String, r#""a\"\\\/\b\f\n\r\t\u00e9""#),
        text("a\"\\/\u{8}\u{c}\n\r\té")
    );
    assert_eq!(
        value(SqlType::String, r#""\ud83e\udd80 \uD83E\uDD80""#),
        text("🦀 🦀")
    );
    assert_eq!(
        value(SqlType::String, "\"plain é 🦀 longer than one block\""),
        text("plain é 🦀 longer than one block")
    );
    assert_eq!(value(SqlType::String, "\"\""), text(""));
    assert_eq!(value(SqlType::String, "\"\\u0000\""), text("\0"));
}

#[test]
fn half_a_surrogate_pair_is_no_character() {
    for json in [
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\ud800\ud800""#,
        r#""\ud800x""#,
        r#""\ud800\n""#,
    ] {
        refused(value(SqlType::String, json), "invalid-json");
        let skipped = format!("{{\"other\":{json}}}");
        refused(
            decode(&column(SqlType::String), skipped.as_bytes()),
            "invalid-json",
        );
    }
}

#[test]
fn other_values_become_text_in_a_string_column() {
    assert_eq!(value(SqlType::String, "1.50"), text("1.50"));
    assert_eq!(value(SqlType::String, "true"), text("true"));
    assert_eq!(
        value(
            SqlType::String,
            "{ \"a\" : [1, 2.0 ,null],\n \"b\\u0041\":\"x\\/\\u001f\" }"
        ),
        text("{\"a\":[1,2.0,null],\"bA\":\"x/\\u001F\"}"),
    );
    refused(value(SqlType::String, "01"), "invalid-json");
    refused(value(SqlType::String, "[1,]"), "invalid-json");
}

#[test]
fn integers_are_whole_and_in_range() {
    assert_eq!(value(SqlType::Int, "-2147483648"), int(i32::MIN.into()));
    assert_eq!(value(SqlType::Int, "-0"), int(0));
    assert_eq!(
        value(SqlType::BigInt, "-9223372036854775808"),
        int(i64::MIN.into())
    );
    assert_eq!(
        value(SqlType::BigInt, "9223372036854775807"),
        int(i64::MAX.into())
    );
    refused(value(SqlType::Int, "2147483648"), "out-of-range");
    refused(
        value(SqlType::BigInt, "9223372036854775808"),
        "out-of-range",
    );
    refused(value(SqlType::Int, "1.0"), "wrong-type");
    refused(value(SqlType::Int, "1e2"), "wrong-type");
    refused(value(SqlType::Int, "\"1\""), "wrong-type");
    refused(value(SqlType::Int, "1e400"), "invalid-json");
}

#[test]
fn doubles_are_the_nearest_to_the_text() {
    assert_eq!(value(SqlType::Double, "78.6"), double(78.6));
    assert_eq!(value(SqlType::Double, "-0"), double(-0.0));
    assert_eq!(
        value(SqlType::Double, "9007199254740993"),
        double(9_007_199_254_740_993.0)
    );
    assert_eq!(
        value(SqlType::Double, "2.2250738585072011e-308"),
        double(2.225_073_858_507_201e-308)
    );
    assert_eq!(value(SqlType::Double, "1e-400"), double(0.0));
    assert_eq!(
        value(SqlType::Double, "\"-INF\""),
        double(f64::NEG_INFINITY)
    );
    assert_eq!(value(SqlType::Double, "\"NaN\""), double(f64::NAN));
    assert_eq!(
        value(SqlType::Float, "0.1"),
        Ok(Datum::Float(0.1f32.to_bits()))
    );
    refused(value(SqlType::Float, "1e39"), "out-of-range");
    refused(value(SqlType::Double, "1e309"), "invalid-json");
    refused(value(SqlType::Double, "\"1.5\""), "wrong-type");
    refused(value(SqlType::Double, "NaN"), "invalid-json");
}

#[test]
fn numbers_follow_json_to_the_letter() {
    for json in [
        "01", "1.", ".5", "-", "+1", "1e", "1e+", "--1", "0x1", "-01", "1.e5", "Infinity",
    ] {
        for ty in [
            SqlType::Double,
            SqlType::BigInt,
            SqlType::Decimal(5, 2),
            SqlType::String,
        ] {
            refused(value(ty, json), "invalid-json");
        }
        let skipped = format!("{{\"other\":{json}}}");
        refused(
            decode(&column(SqlType::Int), skipped.as_bytes()),
            "invalid-json",
        );
    }
}

#[test]
fn decimals_are_exact_and_rounded_half_up() {
    let decimal = |json| value(SqlType::Decimal(5, 2), json);
    assert_eq!(decimal("1.005"), int(101));
    assert_eq!(decimal("-1.005"), int(-101));
    assert_eq!(decimal("1.0049999999999999999999999"), int(100));
    assert_eq!(decimal("0.005"), int(1));
    assert_eq!(decimal("0.0049"), int(0));
    assert_eq!(decimal("999.99"), int(99_999));
    assert_eq!(decimal("1.5e2"), int(15_000));
    assert_eq!(decimal("\"1,234e-1\""), int(12_340));
    assert_eq!(decimal("0e999999999999999999999999"), int(0));
    refused(decimal("999.995"), "out-of-range");
    refused(decimal("1000"), "out-of-range");
    refused(decimal("\"1e999999999999\""), "out-of-range");
    refused(decimal("\"one\""), "malformed-value");
    let widest = "99999999999999999999999999999999999999";
    assert_eq!(
        value(SqlType::Decimal(38, 0), widest),
        int(widest.parse().unwrap())
    );
}

#[test]
fn dates_are_calendar_days() {
    assert_eq!(value(SqlType::Date, "\"1970-01-01\""), int(0));
    assert_eq!(value(SqlType::Date, "\"1969-12-31\""), int(-1));
    assert_eq!(value(SqlType::Date, "\"2000-02-29\""), int(11_016));
    assert_eq!(value(SqlType::Date, "\"0001-01-01\""), int(-719_162));
    assert_eq!(value(SqlType::Date, "\"9999-12-31\""), int(2_932_896));
    for json in [
        "1900-02-29",
        "2025-13-01",
        "2025-00-01",
        "2025-04-31",
        "0000-01-01",
        "2025-1-1",
        "",
    ] {
        refused(
            value(SqlType::Date, &format!("\"{json}\"")),
            "malformed-value",
        );
    }
    refused(value(SqlType::Date, "7"), "wrong-type");
}

#[test]
fn timestamps_are_instants() {
    let instant = |text: &str| value(SqlType::Timestamp, &format!("\"{text}\""));
    let noon = 1_755_434_096_000_000;
    assert_eq!(instant("2025-08-17T12:34:56Z"), int(noon));
    assert_eq!(instant("2025-08-17T12:34:56.789Z"), int(noon + 789_000));
    assert_eq!(instant("2025-08-17t12:34:56.7z"), int(noon + 700_000));
    assert_eq!(instant("2025-08-17 12:34:56.12"), int(noon + 120_000));
    assert_eq!(
        instant("2025-08-17T12:34:56.123456789Z"),
        int(noon + 123_456)
    );
    assert_eq!(instant("2025-08-17T14:34:56+02:00"), int(noon));
    assert_eq!(instant("2025-08-17T07:04:56-0530"), int(noon));
    assert_eq!(instant("2025-08-17T14:34:56.5+02"), int(noon + 500_000));
    assert_eq!(instant("2025-08-17T12:34:56\\u005a"), int(noon));
    assert_eq!(instant("1969-12-31T23:59:59.9999999Z"), int(-1));
    assert_eq!(
        instant("0001-01-01T00:00:00Z"),
        int(-62_135_596_800_000_000)
    );
    assert_eq!(
        instant("9999-12-31T23:59:59.999999Z"),
        int(253_402_300_799_999_999)
    );
    refused(instant("0001-01-01T00:00:00+00:01"), "out-of-range");
    refused(instant("9999-12-31T23:59:59-00:01"), "out-of-range");
    for text in [
        "2025-08-17",
        "2025-08-17T12:34Z",
        "2025-08-17T12:34:60Z",
        "2025-08-17T24:00:00Z",
        "2025-08-17T12:34:56.Z",
        "2025-08-17T12:34:56+19:00",
        "2025-08-17T12:34:56+01:60",
        "2025-08-17T12:34:56ZZ",
        "2025-08-17T12:34:56 UTC",
        "20250817T123456Z",
        "yesterday",
        "",
    ] {
        refused(instant(text), "malformed-value");
    }
    refused(value(SqlType::Timestamp, "1755434096"), "wrong-type");
}

#[test]
fn epochs_are_exact_to_the_microsecond() {
    use TimestampFormat::{EpochMicros, EpochMillis, EpochSeconds};
    assert_eq!(
        epoch(EpochSeconds, "1755434096.123456789"),
        int(1_755_434_096_123_456)
    );
    assert_eq!(epoch(EpochSeconds, "-0.5"), int(-500_000));
    assert_eq!(
        epoch(EpochSeconds, "1.755434096e9"),
        int(1_755_434_096_000_000)
    );
    assert_eq!(
        epoch(EpochMillis, "1755434096789"),
        int(1_755_434_096_789_000)
    );
    assert_eq!(epoch(EpochMicros, "-1"), int(-1));
    refused(epoch(EpochSeconds, "253402300800"), "out-of-range");
    refused(epoch(EpochMillis, "9223372036854775807"), "out-of-range");
    refused(epoch(EpochMicros, "9223372036854775807"), "out-of-range");
    refused(epoch(EpochMillis, "1.5"), "wrong-type");
    refused(epoch(EpochMillis, "\"2025-08-17T12:34:56Z\""), "wrong-type");
}

#[test]
fn binary_is_base64() {
    let bytes = |bytes: &[u8]| Ok(Datum::Bytes(bytes.to_vec()));
    assert_eq!(value(SqlType::Binary, "\"\""), bytes(b""));
    assert_eq!(value(SqlType::Binary, "\"TWFu\""), bytes(b"Man"));
    assert_eq!(value(SqlType::Binary, "\"TWE=\""), bytes(b"Ma"));
    assert_eq!(value(SqlType::Binary, "\"TQ==\""), bytes(b"M"));
    assert_eq!(value(SqlType::Binary, "\"\\/+8=\""), bytes(b"\xff\xef"));
    for json in [
        "\"TQ\"",
        "\"T===\"",
        "\"TQ=a\"",
        "\"T Q=\"",
        "\"TQ==TQ==\"",
        "\"-_8=\"",
        "\"=\"",
    ] {
        refused(value(SqlType::Binary, json), "malformed-value");
    }
}

#[test]
fn containers_hold_nulls_and_refuse_wrong_types_inside() {
    let list = SqlType::Array(SqlType::Int.into());
    let ints = |values: &[Option<i128>]| {
        let datum = |value: &Option<i128>| value.map_or(Datum::Null, Datum::Int);
        Datum::List(values.iter().map(datum).collect())
    };
    assert_eq!(
        value(list.clone(), " [ 1 , null,3 ] "),
        Ok(ints(&[Some(1), None, Some(3)]))
    );
    assert_eq!(value(list.clone(), "[]"), Ok(ints(&[])));
    refused(value(list.clone(), "[1,\"2\"]"), "wrong-type");
    refused(value(list, "1"), "wrong-type");

    let fields = vec![
        ("x".to_owned(), SqlType::Int),
        ("y".to_owned(), SqlType::String),
    ];
    let object = SqlType::Struct(fields);
    assert_eq!(
        value(object.clone(), r#"{"z":{},"y":"a","x":1,"x":null}"#),
        Ok(Datum::Struct(vec![Datum::Null, Datum::Text("a".into())])),
    );
    assert_eq!(value(object, "null"), Ok(Datum::Null));

    let map = SqlType::Map(SqlType::String.into(), SqlType::Int.into());
    let entry = |key: &str, value| (Datum::Text(key.into()), value);
    assert_eq!(
        value(map, r#"{"k":1,"k":null,"é":2}"#),
        Ok(Datum::Map(vec![
            entry("k", Datum::Int(1)),
            entry("k", Datum::Null),
            entry("é", Datum::Int(2)),
        ])),
    );
}
