use arrow::array::{Int32Array, Int64Array, StringArray, UInt32Array};

use super::*;
use crate::dead_letter::DeadLetters;
use crate::sink::{CommitPermit, Committed, PreCommit, SinkError};
use crate::source::RawRecord;
use crate::testing::clock::ManualClock;
use crate::units::Epoch;

const SOURCE: SourceId = SourceId(0);
const PARTITION: Partition = Partition(0);

/// A sink of which only the cursor matters.
struct Resumed(Option<Offset>);

impl Sink for Resumed {
    fn restore(&mut self, _: &CommitPermit, _: PreCommit) -> Result<Committed, SinkError> {
        Ok(Committed::default())
    }

    fn write(&mut self, _: OutputRows, _: &[Progress]) -> Result<(), SinkError> {
        Ok(())
    }

    fn poll(&mut self) -> Result<(Committed, Option<Duration>), SinkError> {
        Ok((Committed::default(), None))
    }

    fn resumed_at(&self, _: SourceId, _: Partition) -> Option<Offset> {
        self.0
    }

    fn pre_commit(&mut self, _: Epoch, _: bool) -> Result<PreCommit, SinkError> {
        Ok(PreCommit::default())
    }

    fn commit(&mut self, _: &CommitPermit) -> Result<Committed, SinkError> {
        Ok(Committed::default())
    }
}

struct Rig {
    clock: Arc<ManualClock>,
    samples: Samples,
    meter: Arc<OutputMeter>,
    watch: SinkWatch,
    sink: Resumed,
    next: i64,
}

impl Rig {
    fn new(shows: Shows, latency_of: LatencyOf) -> Self {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let samples = Samples::new(1_000);
        let meter = Arc::new(OutputMeter::new(latency_of, 16));
        let watch = SinkWatch::new(
            "alerts",
            shows,
            Arc::clone(&meter),
            samples.clone(),
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        Self {
            clock,
            samples,
            meter,
            watch,
            sink: Resumed(None),
            next: 0,
        }
    }

    /// Writes rows whose event times are so many milliseconds in the past.
    fn write(&mut self, ages_ms: &[i64]) {
        let now = self.clock.wall_ms();
        let count = ages_ms.len() as i64;
        let names = (self.next..self.next + count).map(|at| format!("row {at}"));
        let name = Arc::new(StringArray::from_iter_values(names)) as _;
        let rows = OutputRows {
            batch: RecordBatch::try_from_iter([("name", name)]).expect("a batch"),
            origin: Some(Origin {
                source: SOURCE,
                partition: Int32Array::from_iter_values(ages_ms.iter().map(|_| PARTITION.0)),
                offset: Int64Array::from_iter_values(self.next..self.next + count),
                timestamp: Int64Array::from_iter_values(ages_ms.iter().map(|_| -1)),
                row: UInt32Array::from_iter_values(0..count as u32),
            }),
        };
        self.next += count;
        let progress = [Progress {
            source: SOURCE,
            partition: PARTITION,
            next: Offset(self.next),
        }];
        let times: ScalarBuffer<i64> = ages_ms.iter().map(|age| (now - age) * 1_000).collect();
        let told = Told::EventTimes(times);
        self.watch.writes(&rows, &progress, told, &self.sink);
    }

    fn shown(&mut self, rows: u64) {
        self.watch.shown(rows, Duration::from_millis(3));
    }

    fn names(&self) -> Vec<String> {
        let samples = self.samples.newest(SampleKind::Alert, 1_000);
        let names = samples.iter().rev();
        names
            .map(|sample| sample.row["name"].as_str().expect("a name").to_owned())
            .collect()
    }
}

#[test]
fn a_row_is_measured_and_sampled_when_it_has_become_visible() {
    let mut rig = Rig::new(Shows::Alerts, LatencyOf::Alerts);
    rig.write(&[10, 20]);
    rig.write(&[30]);
    assert_eq!(rig.meter.latency().count(), 0);
    assert!(rig.names().is_empty());
    rig.clock.advance(Duration::from_millis(100));
    rig.shown(2);
    let latency = rig.meter.latency();
    assert_eq!(latency.count(), 2);
    assert!((latency.sum_seconds() - 0.230).abs() < 1e-9, "{latency:?}");
    assert_eq!(rig.names(), ["row 0", "row 1"]);
    rig.shown(1);
    assert_eq!(rig.meter.latency().count(), 3);
    assert_eq!(rig.meter.commits().count(), 2);
    assert_eq!(rig.meter.last_commit(), Some(Duration::from_millis(3)));
}

#[test]
fn rows_that_an_earlier_instance_has_shown_are_neither_measured_nor_sampled() {
    let mut rig = Rig::new(Shows::Alerts, LatencyOf::Alerts);
    rig.sink = Resumed(Some(Offset(3)));
    rig.write(&[50_000, 50_000]);
    rig.write(&[50_000, 10]);
    rig.write(&[20]);
    rig.shown(5);
    assert_eq!(rig.names(), ["row 3", "row 4"]);
    let latency = rig.meter.latency();
    assert_eq!(latency.count(), 2);
    assert!(latency.sum_seconds() < 1.0, "{latency:?}");
}

#[test]
fn a_window_is_measured_once_when_its_last_row_is_visible() {
    let mut rig = Rig::new(Shows::Windows, LatencyOf::Windows);
    let name = Arc::new(StringArray::from_iter_values(["a", "b", "c"])) as _;
    let rows = OutputRows {
        batch: RecordBatch::try_from_iter([("name", name)]).expect("a batch"),
        origin: None,
    };
    let window = FiredWindow {
        start: EventMicros(0),
        end: EventMicros(990_000_000),
        groups: 3,
        rows: 9,
    };
    rig.watch
        .writes(&rows, &[], Told::Window(window), &rig.sink);
    rig.shown(2);
    assert_eq!(rig.meter.latency().count(), 0);
    rig.shown(1);
    let latency = rig.meter.latency();
    assert_eq!((latency.count(), latency.sum_seconds()), (1, 10.0));
    assert_eq!(rig.samples.newest_seq(), 0);
}

#[test]
fn samples_are_few_a_second_and_say_how_many_were_passed_over() {
    let mut rig = Rig::new(Shows::Alerts, LatencyOf::Alerts);
    rig.write(&[0; 150]);
    rig.write(&[0; 150]);
    rig.write(&[0; 150]);
    rig.shown(450);
    assert_eq!(rig.names().len(), 50);
    rig.clock.advance(Duration::from_secs(1));
    rig.write(&[0; 2]);
    rig.shown(2);
    let newest = rig.samples.newest(SampleKind::Alert, 2);
    assert_eq!((newest[0].skipped, newest[1].skipped), (0, 400));
    assert_eq!(rig.meter.latency().count(), 452);
}

#[test]
fn samples_that_wait_long_for_their_rows_are_bounded() {
    let mut rig = Rig::new(Shows::Alerts, LatencyOf::Nothing);
    for _ in 0..20 {
        rig.write(&[0; 100]);
        rig.clock.advance(Duration::from_secs(1));
    }
    assert!(rig.watch.waiting <= MOST_WAITING);
    rig.shown(2_000);
    let names = rig.names();
    assert_eq!(names.len(), MOST_WAITING);
    assert_eq!(names.last().map(String::as_str), Some("row 1949"));
    // Event times were not kept, for nobody measures them here.
    assert_eq!(rig.meter.latency().count(), 0);
    assert_eq!(rig.watch.waiting, 0);
}

#[test]
fn a_dead_letter_is_shown_as_text_or_as_base64_cut_to_its_limit() {
    let mut rig = Rig::new(Shows::DeadLetters, LatencyOf::Nothing);
    let long = "\u{e9}".repeat(MAX_SAMPLE_BYTES);
    let values: [Option<&[u8]>; 4] = [
        Some(b"{\"a\":"),
        Some(b"\xff\x00"),
        None,
        Some(long.as_bytes()),
    ];
    let mut letters = DeadLetters::default();
    for (offset, value) in values.into_iter().enumerate() {
        let record = RawRecord {
            partition: PARTITION,
            offset: Offset(offset as i64),
            timestamp_ms: 1_500,
            key: None,
            value,
        };
        letters.push("topic", &record, "no row");
    }
    let rows = letters.finish(SOURCE).expect("rows");
    let rows = OutputRows {
        batch: rows.batch,
        origin: Some(rows.origin),
    };
    rig.watch.writes(&rows, &[], Told::Nothing, &rig.sink);
    rig.shown(4);
    let shown = rig.samples.newest(SampleKind::DeadLetter, 4);
    let (long, null, binary, text) = (&shown[0].row, &shown[1].row, &shown[2].row, &shown[3].row);
    assert_eq!(text["bytes"], "{\"a\":");
    assert_eq!(text["reason"], "no row");
    assert_eq!(text["timestamp"], "1970-01-01T00:00:01.500Z");
    assert_eq!(
        (&binary["bytes"], &binary["bytes_base64"]),
        (&Value::Null, &"/wA=".into())
    );
    assert_eq!(binary["length"], 2);
    assert_eq!(
        (&null["bytes"], &null["length"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(long["bytes"].as_str().map(str::len), Some(MAX_SAMPLE_BYTES));
    assert_eq!(long["length"], 2 * MAX_SAMPLE_BYTES);
}

#[test]
fn rows_of_which_nothing_is_told_take_no_room_however_long_they_wait() {
    let mut rig = Rig::new(Shows::Alerts, LatencyOf::Nothing);
    rig.watch.samples = Samples::new(0);
    for _ in 0..1_000 {
        rig.write(&[0; 100]);
    }
    assert_eq!(rig.watch.line.len(), 1);
    rig.shown(99_999);
    assert_eq!(rig.watch.line.len(), 1);
    rig.shown(1);
    assert!(rig.watch.line.is_empty());
}
