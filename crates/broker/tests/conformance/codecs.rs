//! Compression is the business of clients: the broker stores and hands out what they compressed.

use kafka_protocol::records::{Compression, RecordBatchDecoder};

use crate::support::{
    Row, flush, producer, read, read_committed, send, settle, texts, topic, unique,
};
use crate::wire::{Fetch, Wire};
use rdkafka::producer::Producer;

const CODECS: [(&str, Compression); 5] = [
    ("none", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

/// Text of many sizes, each of which compresses by itself: a client leaves a batch as it is that would
/// not become smaller, and on a busy machine a batch may be a single record.
fn values(codec: &str) -> Vec<String> {
    (0..300)
        .map(|n| format!("{codec} {n} ").repeat(40 + n % 40))
        .collect()
}

#[test]
fn each_codec_passes_through() {
    for (name, codec) in CODECS {
        let topic = topic("codec", 1);
        let producer = producer(&[("compression.type", name), ("linger.ms", "50")]);
        let values = values(name);
        for value in &values {
            send(&producer, &topic, 0, value);
        }
        assert!(flush(&producer).iter().all(Result::is_ok));
        assert_eq!(texts(&read(&topic, &[])), values);
        let data = Wire::connect().fetch(&Fetch::at(&topic, 0));
        let mut stored = data.records.expect("records");
        let batches = RecordBatchDecoder::decode_batch_info(&mut stored).expect("batches");
        assert!(batches.iter().any(|b| b.record_count > 1), "{name}");
        assert!(batches.iter().all(|b| b.compression == codec), "{name}");
    }
}

#[test]
fn codecs_mix_on_one_partition_and_in_transactions() {
    let topic = topic("codecs", 1);
    let mut expected = Vec::new();
    for (name, _) in CODECS {
        let id = unique("codecs");
        let producer = producer(&[("compression.type", name), ("transactional.id", &id)]);
        let patience = crate::support::PATIENCE;
        producer.init_transactions(patience).expect("initialised");
        for (commit, prefix) in [(true, "kept"), (false, "dropped")] {
            producer.begin_transaction().expect("begun");
            for value in values(prefix) {
                send(&producer, &topic, 0, &value);
            }
            flush(&producer);
            if commit {
                settle(&producer).expect("committed");
                expected.extend(values(prefix));
            } else {
                producer.abort_transaction(patience).expect("aborted");
            }
        }
    }
    let rows = crate::support::eventually("the last marker", || {
        let rows = read_committed(&topic);
        (rows.len() >= expected.len()).then_some(rows)
    });
    assert_eq!(rows.iter().map(Row::text).collect::<Vec<_>>(), expected);
}
