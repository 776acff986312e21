//! Events per second that one partition's log appends and reads, on one core.
//!
//! `cargo bench -p floodmark-broker --bench log`: 140-byte events in batches of 500, fetches of 1 MiB.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use floodmark_broker::benching::Log;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

const EVENTS: usize = 4_000_000;
const EVENTS_PER_BATCH: usize = 500;
const EVENT_BYTES: usize = 140;
const FETCH_BYTES: usize = 1 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let batch = batch()?;
    let dir = tempfile::tempdir()?;
    for (name, dir) in [("memory", None), ("durable", Some(dir.path()))] {
        let mut log = Log::open(dir)?;
        let start = Instant::now();
        for _ in 0..EVENTS / EVENTS_PER_BATCH {
            log.append(&batch)?;
        }
        report(name, "appended", start);
        let start = Instant::now();
        let (mut from, mut bytes) = (0, 0);
        while from < EVENTS {
            let records = log.read(from as i64, FETCH_BYTES)?;
            bytes += records.len();
            from += records.len() / batch.len() * EVENTS_PER_BATCH;
        }
        assert_eq!(bytes, batch.len() * (EVENTS / EVENTS_PER_BATCH));
        report(name, "read", start);
        if dir.is_some() {
            drop(log);
            let start = Instant::now();
            Log::open(dir)?;
            report(name, "recovered", start);
        }
    }
    Ok(())
}

fn report(store: &str, what: &str, start: Instant) {
    let rate = EVENTS as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("{store:8} {what:10} {rate:8.2} million events/s");
}

fn batch() -> Result<Bytes, Box<dyn std::error::Error>> {
    let records: Vec<_> = (0..EVENTS_PER_BATCH as i64)
        .map(|place| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset: place,
            sequence: place as i32,
            timestamp: 1_700_000_000_000 + place,
            key: None,
            value: Some(Bytes::from(vec![b'x'; EVENT_BYTES])),
            headers: std::iter::empty().collect(),
        })
        .collect();
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut batch, &records, &options)?;
    Ok(batch.freeze())
}
