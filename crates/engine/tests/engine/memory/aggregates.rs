//! Aggregates whose state is merged from workers, barriers and restarts, against plain arithmetic.

use std::collections::BTreeMap;

use floodmark_engine::runtime::{RunOptions, StopSignal};
use floodmark_engine::units::Partition;
use proptest::prelude::*;

use super::rig::Rig;

const PIPELINE: &str = r#"
name = "aggregates"
[sources.events]
type = "kafka"
brokers = "localhost:9092"
topic = "events"
on_bad_record = "skip"
[sources.events.schema]
site = "STRING"
line = "INT"
ts = "TIMESTAMP NOT NULL"
x = "DOUBLE"
[sources.events.event_time]
column = "ts"
delay = "10 seconds"
[outputs.windows]
query = """
SELECT window.end AS window_end, site, line, count(*) AS n, count(x) AS present, sum(x) AS total,
       min(x) AS least, stddev(x) AS spread, approx_percentile(x, 0.5) AS middle,
       count(DISTINCT x) AS different, count(*) FILTER (WHERE x > 5) AS high
FROM events GROUP BY site, window(ts, '1 minute'), line
HAVING count(*) > 1
"""
[outputs.windows.sink]
type = "console"
[checkpoint]
path = "unused-checkpoint"
interval = "2 ms"
[engine]
workers = 2
batch_rows = 16
"#;

/// Second, site (or none), line (or none), x (or none).
type Reading = (i64, Option<u8>, Option<i32>, Option<u8>);

fn append(rig: &Rig, index: usize, (second, site, line, x): &Reading) {
    let null = || "null".to_owned();
    let site = site.map_or_else(null, |s| format!("\"s{s}\""));
    let line = line.map_or_else(null, |l| l.to_string());
    let x = x.map_or_else(null, |x| x.to_string());
    let ts = format!("2025-08-17T12:{:02}:{:02}Z", second / 60, second % 60);
    let value = format!("{{\"site\":{site},\"line\":{line},\"ts\":\"{ts}\",\"x\":{x}}}");
    rig.source
        .append_value(Partition(index as i32 % 3), value.as_bytes());
}

fn check_group(row: &serde_json::Value, readings: &[Option<u8>]) {
    let values: Vec<f64> = readings.iter().flatten().map(|x| f64::from(*x)).collect();
    let n = values.len() as f64;
    assert_eq!(row["n"], readings.len());
    assert_eq!(row["present"], values.len());
    assert_eq!(row["high"], values.iter().filter(|x| **x > 5.0).count());
    let mut different = values.clone();
    different.sort_by(f64::total_cmp);
    let (least, most) = (different.first().copied(), different.last().copied());
    different.dedup();
    assert_eq!(row["different"], different.len());
    if values.is_empty() {
        assert!(
            row.get("total").is_none() && row.get("least").is_none(),
            "{row}"
        );
        return;
    }
    let total: f64 = values.iter().sum();
    assert_eq!(row["total"].as_f64(), Some(total));
    assert_eq!(row["least"].as_f64(), least);
    let middle = row["middle"].as_f64().expect("a median");
    assert!(Some(middle) >= least && Some(middle) <= most, "{row}");
    if values.len() > 1 {
        let variance = values.iter().map(|x| (x - total / n).powi(2)).sum::<f64>() / (n - 1.0);
        let spread = row["spread"].as_f64().expect("a deviation");
        assert!(
            (spread - variance.sqrt()).abs() < 1e-9,
            "{row}: {}",
            variance.sqrt()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn any_aggregate_over_any_keys_survives_merging_and_restarts(
        readings in prop::collection::vec(
            (0..240_i64, prop::option::of(0..2_u8), prop::option::of(0..2_i32), prop::option::of(0..9_u8)),
            1..300,
        ),
        cut in any::<prop::sample::Index>(),
    ) {
        // In order in every partition, so that nothing is late.
        let mut readings = readings;
        readings.sort();
        let rig = Rig::with(PIPELINE, 3);
        let (before, after) = readings.split_at(cut.index(readings.len()));
        for (index, reading) in before.iter().enumerate() {
            append(&rig, index, reading);
        }
        let early = StopSignal::new();
        early.stop();
        rig.run(RunOptions::default(), &early, None).expect("a run that is stopped at once");
        for (index, reading) in after.iter().enumerate() {
            append(&rig, index + before.len(), reading);
        }
        let finished = rig.finish();
        let late = finished.status.sources["events"].ledger.outputs["windows"].late;
        let mut groups: BTreeMap<_, Vec<Option<u8>>> = BTreeMap::new();
        for (second, site, line, x) in &readings {
            groups.entry((second / 60 + 1, *site, *line)).or_default().push(*x);
        }
        groups.retain(|_, readings| readings.len() > 1);
        let rows = rig.windows.rows();
        prop_assert_eq!(late, 0);
        prop_assert_eq!(rows.len(), groups.len());
        for row in &rows {
            let minute = row["window_end"].as_str().expect("an instant")[14..16].parse().expect("minutes");
            let site = row.get("site").map(|s| s.as_str().expect("text")[1..].parse().expect("a number"));
            let line = row.get("line").map(|l| l.as_i64().expect("a number") as i32);
            check_group(row, &groups[&(minute, site, line)]);
        }
        prop_assert_eq!(finished.status.sources["events"].ledger.read, readings.len() as u64);
    }
}
