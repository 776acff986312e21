//! What can be seen without asking the engine: its metrics page, files, topics, manifests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::wait_for;

/// Series of a metrics page: name and labels as they are written, and the value.
pub(super) type Page = BTreeMap<String, f64>;

/// Reads Prometheus's text format and makes sure that it is some.
pub(super) fn parse(text: &str) -> Page {
    let mut page = Page::new();
    let mut typed: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# ") {
            let mut words = about.splitn(3, ' ');
            let (what, name) = (words.next(), words.next().expect("a name"));
            let rest = words.next().expect("help or a type");
            match what {
                Some("TYPE") => {
                    assert!(["counter", "gauge", "histogram"].contains(&rest), "{line}");
                    assert!(!typed.contains(&name), "{name} is typed twice");
                    typed.push(name);
                }
                Some("HELP") => assert!(!rest.is_empty(), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let name = series.split('{').next().expect("a name");
        let family = typed.last().expect("a type before its values");
        let suffix = name
            .strip_prefix(family)
            .unwrap_or_else(|| panic!("{line}"));
        assert!(
            ["", "_bucket", "_sum", "_count"].contains(&suffix),
            "{line}"
        );
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(
            page.insert(series.to_owned(), value).is_none(),
            "{series} is there twice"
        );
    }
    page
}

pub(super) fn parquet_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if name.starts_with(['.', '_']) {
            continue;
        }
        if path.is_dir() {
            found.extend(parquet_files(&path));
        } else if name.ends_with(".parquet") {
            found.push(path);
        }
    }
    found
}

pub(super) fn sizes(files: &[PathBuf]) -> f64 {
    let sizes = files
        .iter()
        .map(|file| fs::metadata(file).expect("a file").len());
    sizes.sum::<u64>() as f64
}

/// What a `read_committed` consumer sees: records, and bytes of their keys and values.
pub(super) fn committed(brokers: &str, topic: &str, expected: u64) -> (f64, f64) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "looks")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .create()
        .expect("a consumer");
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(topic, 0, Offset::Beginning)
        .expect("a partition");
    consumer.assign(&all).expect("assigns");
    let (mut records, mut bytes) = (0.0, 0.0);
    wait_for("committed records", || {
        while let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) {
            records += 1.0;
            let lengths =
                [message.key(), message.payload()].map(|part| part.map_or(0, <[u8]>::len));
            bytes += lengths.iter().sum::<usize>() as f64;
        }
        (records >= expected as f64).then_some((records, bytes))
    })
}

/// The numbers of the newest manifest.
pub(super) fn newest_manifest(directory: &Path) -> f64 {
    let names = fs::read_dir(directory.join("_chk/manifest")).expect("manifests");
    let names = names.map(|entry| entry.expect("an entry").file_name());
    let numbers = names.filter_map(|name| name.to_string_lossy().get(..20)?.parse::<u64>().ok());
    numbers.max().expect("a manifest") as f64
}
