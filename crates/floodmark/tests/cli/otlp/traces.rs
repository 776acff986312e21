//! Runs whose traces are sent somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::super::{SITE, floodmark};
use super::collector::{Collector, Request, attributes, spans};

/// What stands in each row and must be in no trace.
const DEVICE: &str = "device-of-somebody";

/// More than an idle machine needs, and less than a run that waits for a collector would take.
const UNAFFECTED: Duration = Duration::from_secs(30);

/// A directory with a pipeline that has three readings to read, one a minute.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        fs::write(dir.path().join("site.toml"), SITE.replace("DIR", path)).unwrap();
        let reading = |minute| {
            format!(
                "{{\"device_id\":\"{DEVICE}\",\"ts\":\"2025-08-17T12:{minute:02}:05Z\",\"x\":{minute}}}\n"
            )
        };
        let lines: String = (0..3).map(reading).collect();
        fs::write(dir.path().join("readings-00.jsonl"), lines).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs it to the end: exit code, standard output and error.
    fn run(&self, more: &[&str], variables: &[(&str, &str)]) -> String {
        let file = self.path("site.toml");
        let mut arguments = vec!["run", file.to_str().unwrap(), "--until-caught-up"];
        arguments.extend(more);
        floodmark(&arguments, variables)
    }

    /// Files that readers see.
    fn results(&self) -> usize {
        let directories = ["windows", "high"].map(|name| self.path(name));
        let entries = directories.iter().flat_map(|d| fs::read_dir(d).unwrap());
        let names = entries.map(|entry| entry.unwrap().file_name());
        let visible = names.filter(|name| !name.to_str().unwrap().starts_with('.'));
        visible.count()
    }
}

/// Exit code and standard output.
fn outcome(shown: &str) -> &str {
    shown.split("----- stderr -----").next().unwrap()
}

/// Spans by their ids.
struct Traces(BTreeMap<Vec<u8>, Span>);

impl Traces {
    fn new(spans: Vec<Span>) -> Self {
        let count = spans.len();
        let by_id = spans.into_iter().map(|span| (span.span_id.clone(), span));
        let traces = Self(by_id.collect());
        assert_eq!(traces.0.len(), count, "a span was sent twice");
        traces
    }

    fn named(&self, name: &str) -> Vec<&Span> {
        self.0.values().filter(|span| span.name == name).collect()
    }

    /// Names from the root down to this span, each of the same trace and around the next.
    fn way_to(&self, span: &Span) -> String {
        if span.parent_span_id.is_empty() {
            return span.name.clone();
        }
        let parent = self.0.get(&span.parent_span_id);
        let parent = parent.unwrap_or_else(|| panic!("'{}' has lost its parent", span.name));
        assert_eq!(parent.trace_id, span.trace_id, "{}", span.name);
        let around = parent.start_time_unix_nano <= span.start_time_unix_nano
            && span.end_time_unix_nano <= parent.end_time_unix_nano;
        assert!(around, "'{}' is not within '{}'", span.name, parent.name);
        format!("{} > {}", self.way_to(parent), span.name)
    }

    fn ways(&self) -> BTreeSet<String> {
        self.0.values().map(|span| self.way_to(span)).collect()
    }

    /// Ways to spans whose status is an error.
    fn failed(&self) -> Vec<String> {
        let failed = self.0.values().filter(|span| {
            let status = span.status.as_ref();
            status.is_some_and(|status| status.code == StatusCode::Error as i32)
        });
        let mut ways: Vec<String> = failed.map(|span| self.way_to(span)).collect();
        ways.sort();
        ways
    }
}

fn tells_no_row(requests: &[Request]) {
    for request in requests {
        let text = String::from_utf8_lossy(&request.body);
        assert!(!text.contains(DEVICE), "a row's value was sent");
    }
}

#[test]
fn a_run_is_seen_as_a_start_checkpoints_and_windows() {
    let (site, collector) = (Site::new(), Collector::answering("200 OK"));
    let shown = site.run(&["--otlp", &collector.url, "--close-windows"], &[]);
    assert!(shown.starts_with("exit code: 0"), "{shown}");
    assert!(!shown.contains("traces lost"), "{shown}");

    let requests = collector.requests();
    assert!(requests.iter().all(|request| request.path == "/v1/traces"));
    let traces = Traces::new(spans(&requests));
    let expected = "\
        start\n\
        start > open store\n\
        start > open source readings\n\
        start > read checkpoint\n\
        start > claim\n\
        start > open sink windows\n\
        start > open sink high\n\
        start > load windows\n\
        start > start threads\n\
        fire windows\n\
        checkpoint\n\
        checkpoint > barrier\n\
        checkpoint > barrier > fire windows\n\
        checkpoint > pre-commit\n\
        checkpoint > pre-commit > sink windows\n\
        checkpoint > pre-commit > sink high\n\
        checkpoint > store\n\
        checkpoint > commit\n\
        checkpoint > commit > sink windows\n\
        checkpoint > commit > sink high\n\
        checkpoint > settle";
    let expected: BTreeSet<String> = expected.lines().map(str::to_owned).collect();
    assert_eq!(traces.ways(), expected);
    assert!(traces.failed().is_empty());
    tells_no_row(&requests);
}

#[test]
fn spans_say_what_they_are_about() {
    let (site, collector) = (Site::new(), Collector::answering("200 OK"));
    site.run(&["--otlp", &collector.url], &[]);
    let first = Traces::new(spans(&collector.requests()));
    site.run(&["--otlp", &collector.url], &[]);
    let requests = collector.requests();
    let second = Traces::new(spans(&requests));

    let start = |traces: &Traces| attributes(&traces.named("start")[0].attributes);
    assert_eq!(start(&first)["generation"], "1");
    assert!(!start(&first).contains_key("checkpoint"));
    assert_eq!(start(&second)["generation"], "2");
    assert!(start(&second).contains_key("checkpoint"));

    let checkpoint = attributes(&first.named("checkpoint")[0].attributes);
    assert_eq!(checkpoint["epoch"], "2");
    assert_eq!(checkpoint["generation"], "1");
    assert_eq!(checkpoint["last"], "true");
    assert!(checkpoint["bytes"].parse::<u64>().unwrap() > 0);

    let firing = first.named("fire windows");
    let window = &firing[0].events[0];
    assert_eq!(window.name, "window fired");
    let window = attributes(&window.attributes);
    assert_eq!(window["output"], "windows");
    assert_eq!(window["start"], "2025-08-17T12:00:00.000Z");
    assert_eq!(window["end"], "2025-08-17T12:01:00.000Z");
    assert_eq!(window["rows"], "1");

    let commits = first.named("sink high");
    let rows = commits
        .iter()
        .filter_map(|span| attributes(&span.attributes).get("rows").cloned());
    assert_eq!(rows.collect::<Vec<_>>(), ["1"]);

    let resource = requests[0].decode().resource_spans[0].resource.clone();
    let resource = attributes(&resource.unwrap().attributes);
    assert_eq!(resource["service.name"], "floodmark");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["floodmark.pipeline"], "site");
    assert_eq!(resource["service.instance.id"].len(), 16);
}

#[test]
fn standard_variables_name_the_service_and_carry_credentials() {
    let (site, collector) = (Site::new(), Collector::answering("200 OK"));
    let variables = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test"),
        ("OTEL_SERVICE_NAME", "sensors"),
        // The log's level is no affair of traces.
        ("FLOODMARK_LOG", "off"),
    ];
    site.run(&["--otlp", &collector.url], &variables);
    let requests = collector.requests();
    assert_eq!(requests[0].headers["authorization"], "Bearer abc");
    assert_eq!(
        requests[0].headers["content-type"],
        "application/x-protobuf"
    );
    let resource = requests[0].decode().resource_spans[0].resource.clone();
    let resource = attributes(&resource.unwrap().attributes);
    assert_eq!(resource["service.name"], "sensors");
    assert_eq!(resource["deployment.environment"], "test");
    assert_eq!(resource["floodmark.pipeline"], "site");
}

#[test]
fn a_start_that_fails_is_marked_with_its_step_and_delivered() {
    let (site, collector) = (Site::new(), Collector::answering("200 OK"));
    fs::write(site.path("high"), "no directory").unwrap();
    let shown = site.run(&["--otlp", &collector.url], &[]);
    assert!(shown.starts_with("exit code: 1"), "{shown}");
    let traces = Traces::new(spans(&collector.requests()));
    let failed = traces.failed();
    assert_eq!(failed, ["start", "start > open sink high"]);
    let status = traces.named("start")[0].status.clone().unwrap();
    assert!(status.message.contains("output 'high'"), "{status:?}");
}

#[test]
fn a_checkpoint_that_fails_is_marked_where_it_failed_and_tells_no_row() {
    let (site, collector) = (Site::new(), Collector::answering("200 OK"));
    let file = fs::read_to_string(site.path("site.toml")).unwrap();
    let last = format!("path = \"{}\"", site.path("high").to_str().unwrap());
    let partitioned = format!("{last}\npartition_by = {{ device = \"device_id\" }}");
    fs::write(site.path("site.toml"), file.replace(&last, &partitioned)).unwrap();
    fs::create_dir(site.path("high")).unwrap();
    let in_the_way = format!("high/device={DEVICE}");
    fs::write(site.path(&in_the_way), "no directory").unwrap();

    let shown = site.run(&["--otlp", &collector.url], &[]);
    assert!(shown.starts_with("exit code: 1"), "{shown}");
    assert!(shown.contains(DEVICE), "the log says what is in the way");
    let requests = collector.requests();
    let failed = Traces::new(spans(&requests)).failed();
    let expected = [
        "checkpoint",
        "checkpoint > pre-commit",
        "checkpoint > pre-commit > sink high",
    ];
    assert_eq!(failed, expected);
    tells_no_row(&requests);
}

#[test]
fn spans_stand_before_no_log_line() {
    let (site, collector) = (Site::new(), Collector::answering("200 OK"));
    let level = [("FLOODMARK_LOG", "floodmark_engine=debug,floodmark=debug")];
    let shown = site.run(&["--otlp", &collector.url], &level);
    assert!(shown.contains(" INFO starting generation=1"), "{shown}");
    assert!(shown.contains(" DEBUG checkpoint epoch=2"), "{shown}");
    for ours in ["start{", "checkpoint{", "window fired", "state files"] {
        assert!(!shown.contains(ours), "{ours}: {shown}");
    }
}

/// Runs a site with traces to `url`: it must do what one without traces does.
fn is_unaffected_by(url: &str) -> String {
    let (plain, traced) = (Site::new(), Site::new());
    let expected = plain.run(&[], &[]);
    let began = Instant::now();
    let shown = traced.run(&["--otlp", url], &[]);
    assert!(began.elapsed() < UNAFFECTED, "{:?}", began.elapsed());
    assert!(expected.starts_with("exit code: 0"), "{expected}");
    assert_eq!(outcome(&shown), outcome(&expected));
    assert_eq!(traced.results(), plain.results());
    assert!(traced.results() > 0);
    shown
}

#[test]
fn without_a_collector_a_run_does_what_it_does_and_says_what_is_lost() {
    let shown = is_unaffected_by("http://127.0.0.1:1");
    let lost = shown.lines().find(|line| line.contains("traces lost"));
    let lost = lost.unwrap_or_else(|| panic!("{shown}"));
    assert!(lost.contains("http://127.0.0.1:1/v1/traces"), "{lost}");
    assert!(lost.contains("Connection refused"), "{lost}");
}

#[test]
fn a_collector_that_never_answers_holds_up_no_run() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shown = is_unaffected_by(&url);
    drop(listener);
    assert!(shown.contains("traces lost"), "{shown}");
}

#[test]
fn a_collector_that_refuses_is_spoken_of_once() {
    let collector = Collector::answering("400 Bad Request");
    let shown = is_unaffected_by(&collector.url);
    assert_eq!(shown.matches("traces lost").count(), 1, "{shown}");
    assert!(shown.contains("400"), "{shown}");
}

/// The spans that the log says were lost, each time because of this.
fn lost(shown: &str, why: &str) -> usize {
    let said = shown.lines().filter(|line| line.contains("traces lost"));
    let lost = said.map(|line| {
        assert!(line.contains(why), "{line}");
        let count = line.split("spans=").nth(1).unwrap();
        count.split(' ').next().unwrap().parse::<usize>().unwrap()
    });
    lost.sum()
}

#[test]
fn spans_that_a_collector_takes_and_throws_away_are_lost() {
    let collector = Collector::refusing(2, "quota of the day");
    let shown = is_unaffected_by(&collector.url);
    let said = lost(&shown, "quota of the day");
    assert_eq!(said, 2 * collector.requests().len());
}

#[test]
fn a_collector_cannot_throw_away_more_than_it_was_sent() {
    let collector = Collector::refusing(i64::MAX, "all of it");
    let shown = is_unaffected_by(&collector.url);
    assert_eq!(
        lost(&shown, "all of it"),
        spans(&collector.requests()).len()
    );
}

#[test]
fn an_address_that_is_none_is_wrong_usage() {
    let shown = Site::new().run(&["--otlp", "127.0.0.1:4318"], &[]);
    assert!(shown.starts_with("exit code: 2"), "{shown}");
    assert!(shown.contains("such as http://127.0.0.1:4318"), "{shown}");
}
