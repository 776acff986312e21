//! `docs/reference/metrics.md`, made from the table of metrics.

use std::fmt::Write;
use std::path::Path;

use super::names::{Kind, Metric};

const BEFORE: &str = "\
# Metrics

<!-- Made from crates/floodmark/src/http/metrics/names.rs; to make it anew:
     UPDATE_GENERATED=1 cargo test --workspace reference_page -->

`GET /metrics` answers with the metrics below: as OpenMetrics 1.0 to who asks for it, as Prometheus \
does, else in Prometheus's text format. How to serve them: [running](../operations/running.md); what to \
watch and when to be woken: [observability](../operations/observability.md).

A counter begins at 0 with the process, unless its meaning says that it goes on from the pipeline's first \
start: those are in the checkpoint. Histograms have `_bucket`, `_sum` and `_count`. No label tells devices \
apart: series are as many as the pipeline has sources, partitions and outputs. The label `output` also \
takes `dead_letter` and `late`, for what catches records and rows that leave the path.

| metric | kind | labels | meaning |
|---|---|---|---|
";

const AFTER: &str = "
Stages of `floodmark_stage_cpu_seconds_total`: `fetch` (workers, polling and between batches), `decode`, \
`sql`, `window` (workers), `sink` (threads of sinks, encoding included), `client` (threads of the Kafka \
client: fetching, decompressing, sending), `coordinator`, `io` (uploads, checkpoints) and `http` (this).

The ledger balances: for each output of a source, `floodmark_ledger_records_total` summed over `class`, plus \
`floodmark_source_refused_records_total` with `class=\"bad\"` and `class=\"null_time\"`, is the number of \
records read since the pipeline's first start.
";

fn page() -> String {
    let mut page = BEFORE.to_owned();
    for metric in Metric::ALL {
        let about = metric.about();
        let kind = match about.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        };
        let labels = about.labels.iter().map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        let (name, help) = (about.name(), about.help);
        let _ = writeln!(page, "| `{name}` | {kind} | {labels} | {help} |");
    }
    page + AFTER
}

#[test]
fn the_reference_page_of_metrics_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, page()).expect("writes the page");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found,
        page(),
        "to make it anew: UPDATE_GENERATED=1 cargo test"
    );
}

#[test]
fn names_are_those_of_the_prometheus_conventions() {
    let mut names: Vec<String> = Metric::ALL
        .iter()
        .map(|metric| metric.about().name())
        .collect();
    for (metric, name) in Metric::ALL.iter().zip(&names) {
        let about = metric.about();
        let ours = name.starts_with("floodmark_") || name.starts_with("process_");
        assert!(ours, "{name}");
        assert!(
            !about.help.is_empty() && !about.help.ends_with('.'),
            "{name}"
        );
        assert!(
            about
                .unit
                .is_none_or(|unit| ["bytes", "seconds"].contains(&unit))
        );
        assert!(!about.labels.contains(&"device_id"), "{name}");
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Metric::ALL.len(), "a name is there twice");
}
