use std::sync::Arc;

use arrow::array::{
    BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int64Array,
    MapBuilder, StringArray, StringBuilder, TimestampMicrosecondArray, types::Int32Type,
};
use arrow::array::{Date32Array, Int64Builder, ListArray};

use super::*;

fn json(columns: Vec<(&str, ArrayRef)>) -> Vec<String> {
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let rows = JsonRows::new(&batch).expect("prepared");
    (0..batch.num_rows())
        .map(|row| {
            let mut out = Vec::new();
            rows.write(row, &mut out);
            String::from_utf8(out).expect("UTF-8")
        })
        .collect()
}

#[test]
fn an_alert_is_one_object_with_nulls_left_out() {
    let instants = TimestampMicrosecondArray::from(vec![1_755_434_096_789_000, 0]);
    let rows = json(vec![
        (
            "device_id",
            Arc::new(StringArray::from(vec![Some("MTR-00123"), None])),
        ),
        ("ts", Arc::new(instants.with_timezone("UTC"))),
        (
            "temperature_c",
            Arc::new(Float64Array::from(vec![Some(85.5), Some(1.0)])),
        ),
        ("ok", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("n", Arc::new(Int64Array::from(vec![i64::MIN, 7]))),
    ]);
    assert_eq!(
        rows[0],
        r#"{"device_id":"MTR-00123","ts":"2025-08-17T12:34:56.789Z","temperature_c":85.5,"ok":true,"n":-9223372036854775808}"#
    );
    assert_eq!(
        rows[1],
        r#"{"ts":"1970-01-01T00:00:00.000Z","temperature_c":1.0,"n":7}"#
    );
}

#[test]
fn text_is_escaped_and_names_too() {
    let rows = json(vec![(
        "a\"b",
        Arc::new(StringArray::from(vec![
            "tab\t quote\" back\\ \u{1} snow\u{2603}",
        ])),
    )]);
    assert_eq!(
        rows[0],
        "{\"a\\\"b\":\"tab\\t quote\\\" back\\\\ \\u0001 snow\u{2603}\"}"
    );
    let parsed: serde_json::Value = serde_json::from_str(&rows[0]).expect("JSON");
    assert_eq!(parsed["a\"b"], "tab\t quote\" back\\ \u{1} snow\u{2603}");
}

#[test]
fn what_json_has_no_number_for_is_a_string() {
    let values = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let rows = json(vec![("x", Arc::new(Float64Array::from(values)))]);
    assert_eq!(
        rows,
        [
            r#"{"x":"NaN"}"#,
            r#"{"x":"Infinity"}"#,
            r#"{"x":"-Infinity"}"#
        ]
    );
}

#[test]
fn instants_have_the_digits_they_need_and_dates_hold_before_1970() {
    let instants = vec![1, -1, -62_135_596_800_000_000, 253_402_300_799_999_999];
    let rows = json(vec![
        ("t", Arc::new(TimestampMicrosecondArray::from(instants))),
        (
            "d",
            Arc::new(Date32Array::from(vec![0, -1, 11_016, 2_932_896])),
        ),
    ]);
    assert_eq!(
        rows[0],
        r#"{"t":"1970-01-01T00:00:00.000001Z","d":"1970-01-01"}"#
    );
    assert_eq!(
        rows[1],
        r#"{"t":"1969-12-31T23:59:59.999999Z","d":"1969-12-31"}"#
    );
    assert_eq!(
        rows[2],
        r#"{"t":"0001-01-01T00:00:00.000Z","d":"2000-02-29"}"#
    );
    assert_eq!(
        rows[3],
        r#"{"t":"9999-12-31T23:59:59.999999Z","d":"9999-12-31"}"#
    );
}

#[test]
fn decimals_stay_exact_and_binary_is_base64() {
    let decimals = Decimal128Array::from(vec![-1_050, 7, 0])
        .with_precision_and_scale(10, 2)
        .expect("a decimal");
    let bytes = BinaryArray::from(vec![&b"any carnal pleas"[..], b"any", b"\xff\xfe"]);
    let rows = json(vec![("x", Arc::new(decimals)), ("b", Arc::new(bytes))]);
    assert_eq!(rows[0], r#"{"x":-10.50,"b":"YW55IGNhcm5hbCBwbGVhcw=="}"#);
    assert_eq!(rows[1], r#"{"x":0.07,"b":"YW55"}"#);
    assert_eq!(rows[2], r#"{"x":0.00,"b":"//4="}"#);
}

#[test]
fn nested_values_are_nested() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None, Some(3)]),
        Some(vec![]),
    ]);
    let mut map = MapBuilder::new(None, Int64Builder::new(), StringBuilder::new());
    map.keys().append_value(5);
    map.values().append_value("five");
    map.keys().append_value(6);
    map.values().append_null();
    map.append(true).expect("an entry");
    map.append(false).expect("a null");
    let words: DictionaryArray<Int32Type> = vec!["yes", "no"].into_iter().collect();
    let inner: StructArray = RecordBatch::try_from_iter(vec![("w", Arc::new(words) as ArrayRef)])
        .expect("a batch")
        .into();
    let rows = json(vec![
        ("l", Arc::new(list)),
        ("m", Arc::new(map.finish())),
        ("s", Arc::new(inner)),
    ]);
    assert_eq!(
        rows[0],
        r#"{"l":[1,null,3],"m":{"5":"five","6":null},"s":{"w":"yes"}}"#
    );
    assert_eq!(rows[1], r#"{"l":[],"s":{"w":"no"}}"#);
}
