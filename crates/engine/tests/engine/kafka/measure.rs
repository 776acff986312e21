//! What the reader costs, in processor time of the whole process a record. Run by hand, optimised:
//! `FLOODMARK_TEST_KAFKA=… cargo test --workspace --test engine -- --ignored --nocapture measure`

use std::time::{Duration, Instant};

use floodmark_engine::source::kafka::{DEFAULT_PREFETCH_BYTES, KafkaReader, KafkaTopic};
use floodmark_engine::source::{PartitionEvent, Reader};
use floodmark_pipeline::{Secret, Start};

use super::support::{produce_values, source};
use crate::servers::{cluster, deadline, topic};

const RECORDS: usize = 3_000_000;
const ROUNDS: usize = 3;

/// Properties and the number of records a poll takes at most.
type Setting = (&'static str, &'static [(&'static str, &'static str)], usize);

const SETTINGS: &[Setting] = &[
    ("as shipped", &[], 8_192),
    ("without check.crcs", &[("check.crcs", "false")], 8_192),
    ("polls of 1,024", &[], 1_024),
    (
        "queue of 20,000",
        &[("queued.min.messages", "20000")],
        8_192,
    ),
    (
        "queue of 100,000",
        &[("queued.min.messages", "100000")],
        8_192,
    ),
    (
        "fetches of 256 KiB",
        &[("fetch.message.max.bytes", "262144")],
        8_192,
    ),
    (
        "fetches of 4 MiB",
        &[("fetch.message.max.bytes", "4194304")],
        8_192,
    ),
    ("pause of 1 s", &[("fetch.queue.backoff.ms", "1000")], 8_192),
];

fn event(i: usize) -> Vec<u8> {
    format!(
        "{{\"device_id\":\"MTR-{:05}\",\"ts\":\"2025-08-17T12:{:02}:{:02}.{:03}Z\",\
         \"temperature_c\":{}.{},\"vibration_g\":0.{:02},\"status\":\"OK\",\"site\":\"fab{}\",\
         \"line\":\"L{:02}\"}}",
        (i * 7919) % 1000,
        i / 60_000 % 60,
        i / 1_000 % 60,
        i % 1_000,
        60 + i % 25,
        i % 10,
        i % 50,
        i % 4,
        i % 12
    )
    .into_bytes()
}

/// Processor time of this process so far, and its peak resident size in MiB.
fn usage() -> (Duration, i64) {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = text.rsplit_once(')').expect("a name").1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = [11, 12]
        .iter()
        .map(|i| fields[*i].parse::<u64>().expect("ticks"))
        .sum();
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let kib = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .expect("a size");
    let kib: i64 = kib
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number");
    (Duration::from_millis(ticks * 10), kib / 1024)
}

#[test]
#[ignore = "a measurement, a minute long"]
fn measure_the_reader() {
    let cluster = cluster();
    let topic = std::env::var("FLOODMARK_MEASURE_TOPIC").unwrap_or_else(|_| {
        let topic = topic(&cluster, "measure", 3, &[]);
        produce_values(
            &cluster,
            &topic,
            (0..RECORDS).map(|i| ((i % 3) as i32, event(i))),
        );
        topic
    });
    eprintln!("{RECORDS} records on {topic}");
    for (name, properties, max) in SETTINGS {
        let mut source = source(&cluster, &topic);
        for (property, value) in *properties {
            source
                .cluster
                .properties
                .insert((*property).to_owned(), Secret::new(*value));
        }
        let (control, partitions) = KafkaTopic::open("s", &source, deadline()).expect("opens");
        let start = control
            .start_offsets(&partitions, Start::Earliest, deadline())
            .expect("offsets");
        let mut best = (f64::MAX, 0.0, 0, 0);
        for _ in 0..ROUNDS {
            let mut reader =
                KafkaReader::new("s", &source, DEFAULT_PREFETCH_BYTES).expect("a reader");
            let (began, (before, _)) = (Instant::now(), usage());
            reader.assign(&start).expect("assigned");
            let (mut count, mut bytes, mut ended, mut polls, mut resident) = (0, 0, 0, 0, 0);
            while ended < partitions.len() {
                let events = reader
                    .poll(Duration::from_millis(100), *max, &mut |records| {
                        count += records.len();
                        bytes += records
                            .iter()
                            .filter_map(|r| Some(r.value?.len()))
                            .sum::<usize>();
                    })
                    .expect("records");
                ended += events
                    .iter()
                    .filter(|e| matches!(e, PartitionEvent::CaughtUp { .. }))
                    .count();
                polls += 1;
                if polls % 100 == 0 {
                    resident = resident.max(usage().1);
                }
            }
            assert!(
                bytes > count * 100,
                "values of {bytes} bytes in {count} records"
            );
            let cpu = usage().0.saturating_sub(before).as_secs_f64();
            let rate = count as f64 / began.elapsed().as_secs_f64();
            let cost = cpu * 1e9 / count as f64;
            if cost < best.0 {
                best = (cost, rate, polls, resident);
            }
        }
        let (cost, rate, polls, resident) = best;
        eprintln!(
            "{name:20} {cost:5.0} ns/record, {rate:9.0} records/s, {polls} polls, {resident} MiB"
        );
    }
}
