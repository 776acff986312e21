use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::source::{PartitionEvent, RawRecord};
use crate::testing::ManualClock;
use crate::testing::source_promises::{Fixture, Values, every_promise_holds};

mod refused;

const FIRST: Partition = Partition(0);

/// A directory of files, read by a clock that stands still.
struct Place {
    directory: TempDir,
    clock: Arc<ManualClock>,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            clock: Arc::new(ManualClock::at(0)),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    fn append(&self, name: &str, content: &str) {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(content.as_bytes()).unwrap();
    }

    fn starting(&self, start: Start, last_line: LastLine) -> FileConnector {
        let paths = vec![self.path("*").to_str().unwrap().to_owned()];
        let clock = Arc::clone(&self.clock);
        FileConnector::new("events", &FileSource { paths }, start, last_line, clock).unwrap()
    }

    fn connector(&self) -> FileConnector {
        self.starting(Start::Earliest, LastLine::Follow)
    }

    /// A connector that knows its files, and a reader of all of them from the beginning.
    fn read(&self, last_line: LastLine) -> (FileConnector, Box<dyn Reader>) {
        let connector = self.starting(Start::Earliest, last_line);
        let partitions = connector.partitions().unwrap();
        let positions = connector.start(&partitions).unwrap();
        let reader = connector.reader(&positions).unwrap();
        (connector, reader)
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 1).unwrap()
}

/// What one poll handed over: offset and value of each record.
type Polled = Vec<(i64, String)>;

fn try_poll(
    reader: &mut dyn Reader,
    max: usize,
) -> Result<(Polled, Vec<PartitionEvent>), SourceError> {
    let mut polled = Polled::new();
    let mut note = |records: &[RawRecord<'_>]| {
        for record in records {
            assert_eq!((record.timestamp_ms, record.key), (-1, None));
            let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
            polled.push((record.offset.0, value));
        }
    };
    let events = reader.poll(Duration::from_millis(1), max, &mut note)?;
    Ok((polled, events))
}

fn poll(reader: &mut dyn Reader) -> (Polled, Vec<PartitionEvent>) {
    try_poll(reader, 1_000_000).unwrap()
}

fn values(polled: &Polled) -> Vec<&str> {
    polled.iter().map(|(_, value)| value.as_str()).collect()
}

fn caught_up(next: i64) -> PartitionEvent {
    PartitionEvent::CaughtUp {
        partition: FIRST,
        next: Offset(next),
    }
}

fn message<T>(outcome: Result<T, SourceError>) -> String {
    outcome
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

#[test]
fn keeps_the_promises_of_a_source() {
    struct Files(Place);
    impl Fixture for Files {
        fn connector(&self) -> Arc<dyn Connector> {
            Arc::new(self.0.connector())
        }
        fn expected(&self) -> Values {
            let values = |values: &[&str]| values.iter().map(|v| v.as_bytes().to_vec()).collect();
            Values::from([
                (
                    Partition(0),
                    values(&["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"]),
                ),
                (Partition(1), values(&["one", "two", "three"])),
                (Partition(2), values(&["eins", "zwei", "drei"])),
                (Partition(3), values(&[])),
                (Partition(4), values(&[])),
            ])
        }
    }
    let place = Place::new();
    place.write(
        "a.jsonl",
        b"\xEF\xBB\xBF{\"a\":1}\r\n\n  \r\n{\"a\":2}\n{\"a\":3}\n\n",
    );
    place.write(
        "b.jsonl.gz",
        &[gzip(b"one\ntw"), gzip(b"o\n\nthree")].concat(),
    );
    place.write(
        "c.jsonl.zst",
        &[zstd(b"eins\n"), zstd(b"zwei\ndrei\n\n")].concat(),
    );
    place.write("d.jsonl", b"");
    place.write("e.jsonl.gz", &gzip(b""));
    fs::create_dir(place.path("f.jsonl")).unwrap();
    every_promise_holds(&Files(place));
}

#[test]
fn an_offset_is_that_of_the_last_byte_of_a_line() {
    let place = Place::new();
    place.write("a", b"ab\r\n\ncde\n");
    let (_, mut reader) = place.read(LastLine::Follow);
    let (polled, events) = poll(reader.as_mut());
    assert_eq!(polled, [(3, "ab".to_owned()), (8, "cde".to_owned())]);
    assert_eq!(events, [caught_up(9)]);
}

#[test]
fn a_plain_file_is_followed_and_a_compressed_one_ends() {
    let place = Place::new();
    place.write("a", b"one\n");
    place.write("b.gz", &gzip(b"eins"));
    let (connector, mut reader) = place.read(LastLine::Follow);
    let second = Partition(1);
    assert_eq!(
        connector.ends(&[FIRST, second]).unwrap()[1],
        (second, END_UNKNOWN)
    );
    let (polled, events) = poll(reader.as_mut());
    assert_eq!(values(&polled), ["one", "eins"]);
    let ended = PartitionEvent::Ended { partition: second };
    let read = PartitionEvent::CaughtUp {
        partition: second,
        next: Offset(4),
    };
    assert_eq!(events, [caught_up(4), read, ended]);
    let ends = connector.ends(&[FIRST, second]).unwrap();
    assert_eq!(ends, [(FIRST, Offset(4)), (second, Offset(4))]);
    for round in 0..3 {
        place.append("a", "more\n");
        assert_eq!(poll(reader.as_mut()), (vec![], vec![]), "not looked at yet");
        place.clock.advance(Duration::from_millis(200));
        let (polled, events) = poll(reader.as_mut());
        assert_eq!(
            (values(&polled), events),
            (vec!["more"], vec![caught_up(9 + 5 * round)])
        );
    }
}

#[test]
fn half_a_line_waits_for_the_other_half_while_a_file_is_followed() {
    let place = Place::new();
    place.write("a", b"{\"a\":1}\n{\"a\":");
    let (_, mut reader) = place.read(LastLine::Follow);
    let (polled, events) = poll(reader.as_mut());
    assert_eq!(
        (values(&polled), events),
        (vec!["{\"a\":1}"], vec![caught_up(8)])
    );
    for _ in 0..50 {
        place.clock.advance(Duration::from_secs(60));
        assert_eq!(poll(reader.as_mut()), (vec![], vec![]));
    }
    place.append("a", "2}");
    place.clock.advance(Duration::from_secs(60));
    assert_eq!(poll(reader.as_mut()), (vec![], vec![caught_up(8)]));
    // A whole object, but the file has grown just now.
    place.clock.advance(LastLine::STALL / 2);
    assert_eq!(poll(reader.as_mut()).0, []);
    place.clock.advance(LastLine::STALL / 2);
    let (polled, events) = poll(reader.as_mut());
    assert_eq!(
        (values(&polled), events),
        (vec!["{\"a\":2}"], vec![caught_up(15)])
    );
    place.append("a", "\n{\"a\":3}\n");
    place.clock.advance(Duration::from_millis(200));
    assert_eq!(values(&poll(reader.as_mut()).0), ["{\"a\":3}"]);
}

#[test]
fn a_run_that_ends_reads_the_last_line_as_it_is() {
    let place = Place::new();
    place.write("a", b"{\"a\":1}\n{\"a\":");
    let (connector, mut reader) = place.read(LastLine::Finish);
    assert_eq!(poll(reader.as_mut()).1, [caught_up(8)]);
    place.clock.advance(LastLine::STALL);
    let (polled, events) = poll(reader.as_mut());
    assert_eq!(
        (values(&polled), events),
        (vec!["{\"a\":"], vec![caught_up(13)])
    );
    assert_eq!(connector.ends(&[FIRST]).unwrap(), [(FIRST, Offset(13))]);
}

#[test]
fn numbers_outlive_a_restart_and_new_files_get_the_next_ones() {
    let place = Place::new();
    for name in ["b", "d"] {
        place.write(name, b"x\n");
    }
    let connector = place.connector();
    assert_eq!(
        connector.partitions().unwrap(),
        [Partition(0), Partition(1)]
    );
    place.write("c", b"");
    place.write("a", b"");
    let four = [Partition(0), Partition(1), Partition(2), Partition(3)];
    assert_eq!(connector.partitions().unwrap(), four);
    let names = four.map(|partition| (partition, connector.topic(partition)));
    let ends = ["b", "d", "a", "c"];
    assert!(
        names
            .iter()
            .zip(ends)
            .all(|((_, name), end)| name.ends_with(end)),
        "{names:?}"
    );

    let after = place.connector();
    after.adopt(&[names[0].clone(), names[3].clone()]);
    assert_eq!(after.partitions().unwrap(), [0, 3, 4, 5].map(Partition));
    assert!(after.topic(Partition(4)).ends_with('a') && after.topic(Partition(5)).ends_with('d'));
}

#[test]
fn a_file_named_by_two_patterns_is_one_partition() {
    let place = Place::new();
    place.write("a.jsonl", b"");
    let patterns = ["*.jsonl", "a*", "nothing*"];
    let paths = patterns
        .map(|name| place.path(name).to_str().unwrap().to_owned())
        .to_vec();
    let clock = Arc::clone(&place.clock);
    let source = FileSource { paths };
    let files = FileConnector::new("s", &source, Start::Earliest, LastLine::Follow, clock).unwrap();
    assert_eq!(files.partitions().unwrap(), [FIRST]);
}

#[test]
fn starting_at_the_latest_leaves_out_whole_lines_only() {
    let place = Place::new();
    place.write("a", b"one\ntwo\nthr");
    place.write("b.gz", &gzip(b"eins\nzwei"));
    place.write("c", b"no line yet");
    let mut long = b"one\n".to_vec();
    long.resize(200_000, b'x');
    place.write("d", &long);
    let connector = place.starting(Start::Latest, LastLine::Follow);
    let partitions = connector.partitions().unwrap();
    let starts: Vec<i64> = connector
        .start(&partitions)
        .unwrap()
        .iter()
        .map(|(_, offset)| offset.0)
        .collect();
    assert_eq!(starts, [8, 9, 0, 4]);
    let clock = Arc::clone(&place.clock);
    let source = FileSource {
        paths: vec!["x".to_owned()],
    };
    let moment = FileConnector::new("s", &source, Start::Timestamp(5), LastLine::Follow, clock);
    assert!(message(moment).contains("no timestamp"));
}

#[test]
fn a_file_removed_after_it_was_read_has_ended() {
    let place = Place::new();
    place.write("a", b"one\ntwo");
    let (_, mut reader) = place.read(LastLine::Follow);
    assert_eq!(values(&poll(reader.as_mut()).0), ["one"]);
    fs::remove_file(place.path("a")).unwrap();
    place.clock.advance(Duration::from_secs(1));
    let (polled, events) = poll(reader.as_mut());
    assert_eq!(values(&polled), ["two"]);
    assert_eq!(
        events,
        [caught_up(7), PartitionEvent::Ended { partition: FIRST }]
    );
}

#[test]
fn no_file_starves_and_all_are_read_though_few_are_open_at_once() {
    let place = Place::new();
    let lines = |name: usize, count: usize| -> String {
        (0..count)
            .map(|line| format!("{name:03} {line:05}\n"))
            .collect()
    };
    // Far more than one poll takes.
    place.write("000", lines(0, 2_000_000).as_bytes());
    for name in 1..200 {
        place.write(&format!("{name:03}"), lines(name, 50).as_bytes());
    }
    let (_, mut reader) = place.read(LastLine::Follow);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut polls = 0;
    while seen.values().sum::<usize>() < 2_000_000 + 199 * 50 {
        let (polled, _) = try_poll(reader.as_mut(), 8_192).unwrap();
        for (_, value) in polled {
            let (name, line) = value.split_once(' ').unwrap();
            let next = seen.entry(name.to_owned()).or_default();
            assert_eq!(line.parse::<usize>().unwrap(), *next);
            *next += 1;
        }
        polls += 1;
        if polls == 40 {
            assert_eq!(seen.len(), 200, "all files have been begun");
        }
    }
    assert!(polls < 2_000_000 / 8_192 + 200);
}

#[test]
fn a_position_deep_in_a_compressed_file_is_found() {
    let place = Place::new();
    let content: String = (0..2_000_000).map(|line| format!("{line:07}\n")).collect();
    place.write("a.zst", &zstd(content.as_bytes()));
    let connector = place.connector();
    connector.partitions().unwrap();
    let mut reader = connector.reader(&[(FIRST, Offset(8 * 1_999_998))]).unwrap();
    let read: Vec<String> = (0..100)
        .flat_map(|_| poll(reader.as_mut()).0)
        .map(|(_, value)| value)
        .take(2)
        .collect();
    assert_eq!(read, ["1999998", "1999999"]);
}

#[cfg(unix)]
#[test]
fn a_name_that_is_no_text_matches_no_pattern() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let name = std::ffi::OsStr::from_bytes(b"a\xFF");
    fs::write(place.directory.path().join(name), b"").unwrap();
    place.write("b", b"");
    let connector = place.connector();
    assert_eq!(connector.partitions().unwrap(), [FIRST]);
    assert!(connector.topic(FIRST).ends_with('b'));
}
