//! The log's rules, each; recovery at every byte; and random histories against a plain model.

mod appending;
mod model;
mod reading;
mod recovering;
mod retaining;
mod settling;
mod transactions;

use std::path::Path;
use std::time::Instant;

use bytes::{BufMut, Bytes};

use super::batch::{HEADER_BYTES, Header, seal};
use super::*;

/// Room enough for any test, no retention.
const LIMITS: LogLimits = LogLimits {
    retention_ms: -1,
    retention_bytes: -1,
    segment_bytes: 1 << 20,
    max_message_bytes: 1 << 20,
    timestamps: TimestampRule::Producer {
        behind_ms: i64::MAX,
        ahead_ms: i64::MAX,
    },
};

/// A batch to be made. Its records have no keys, and their values say where they are.
#[derive(Debug, Clone)]
struct Batch {
    producer: Producer,
    sequence: i32,
    attributes: i16,
    timestamps: Vec<i64>,
    value_bytes: usize,
}

/// A batch of so many records from nobody in particular.
fn plain(records: usize) -> Batch {
    Batch {
        producer: Producer { id: -1, epoch: -1 },
        sequence: -1,
        attributes: 0,
        timestamps: (0..records as i64).map(|record| 1_000 + record).collect(),
        value_bytes: 3,
    }
}

impl Batch {
    /// From an idempotent producer.
    fn by(self, id: i64, epoch: i16, sequence: i32) -> Self {
        Self {
            producer: Producer { id, epoch },
            sequence,
            ..self
        }
    }

    fn transactional(self) -> Self {
        self.with_attributes(0x10)
    }

    fn with_attributes(self, bits: i16) -> Self {
        Self {
            attributes: self.attributes | bits,
            ..self
        }
    }

    fn at(self, timestamps: &[i64]) -> Self {
        Self {
            timestamps: timestamps.to_vec(),
            ..self
        }
    }

    fn with_values_of(self, value_bytes: usize) -> Self {
        Self {
            value_bytes,
            ..self
        }
    }

    fn bytes(&self) -> Bytes {
        let base_timestamp = self.timestamps.first().copied().unwrap_or(0);
        let mut batch = Vec::new();
        batch.put_i64(0);
        batch.put_i32(0);
        batch.put_i32(-1);
        batch.put_i8(2);
        batch.put_u32(0);
        batch.put_i16(self.attributes);
        batch.put_i32(self.timestamps.len() as i32 - 1);
        batch.put_i64(base_timestamp);
        batch.put_i64(self.timestamps.iter().copied().max().unwrap_or(-1));
        batch.put_i64(self.producer.id);
        batch.put_i16(self.producer.epoch);
        batch.put_i32(self.sequence);
        batch.put_i32(self.timestamps.len() as i32);
        for (place, timestamp) in self.timestamps.iter().enumerate() {
            let mut record = vec![0];
            varint(&mut record, timestamp - base_timestamp);
            varint(&mut record, place as i64);
            varint(&mut record, -1);
            varint(&mut record, self.value_bytes as i64);
            record.resize(record.len() + self.value_bytes, place as u8);
            varint(&mut record, 0);
            varint(&mut batch, record.len() as i64);
            batch.extend(record);
        }
        sealed(batch)
    }
}

/// Sets length and checksum to what the bytes are.
fn sealed(mut batch: Vec<u8>) -> Bytes {
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    seal(&mut batch);
    batch.into()
}

/// The batch as the log keeps it.
fn placed(batch: &Bytes, base: i64) -> Vec<u8> {
    let mut placed = batch.to_vec();
    placed[..8].copy_from_slice(&base.to_be_bytes());
    placed[12..16].copy_from_slice(&[0; 4]);
    placed
}

fn varint(bytes: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        bytes.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    bytes.push(raw as u8);
}

fn now(wall: i64) -> Now {
    Now {
        instant: Instant::now(),
        wall: Timestamp(wall),
    }
}

fn in_memory() -> PartitionLog {
    PartitionLog::in_memory(LIMITS, MemoryBudget::new(1 << 30))
}

fn open(dir: &Path, limits: LogLimits) -> PartitionLog {
    PartitionLog::open(dir, limits, Fsync::OnRoll).unwrap().0
}

/// Runs a test on an empty log of each kind.
fn on_both(limits: LogLimits, test: impl Fn(PartitionLog)) {
    test(PartitionLog::in_memory(limits, MemoryBudget::new(1 << 30)));
    let dir = tempfile::tempdir().unwrap();
    test(open(dir.path(), limits));
}

/// Deletes what retention does not keep, as housekeeping does. Returns how many segments, or batches.
fn retain(log: &mut PartitionLog, now: Now) -> usize {
    let Some(departure) = log.due(now) else {
        return 0;
    };
    match departure.write_down() {
        Ok(()) => log.retain(now, &departure),
        Err(_) => 0,
    }
}

/// Brings all full segments to the disk, as housekeeping does. Returns how many.
fn settle(log: &mut PartitionLog) -> usize {
    let mut count = 0;
    while let Some(settling) = log.settling() {
        let outcome = settling.carry_out();
        assert!(log.settled(&settling, outcome));
        count += 1;
    }
    count
}

/// Names of a log's segments, ascending.
fn segments(dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(dir).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.contains('.')).collect();
    names.sort();
    names
}

/// Appends, and says at which offset.
fn append(log: &mut PartitionLog, batch: &Batch) -> i64 {
    log.append(&batch.bytes(), now(0)).unwrap().base.0
}

fn refused(log: &mut PartitionLog, batch: &Batch) -> AppendError {
    let end = log.end();
    let error = log.append(&batch.bytes(), now(0)).unwrap_err();
    assert_eq!(log.end(), end, "a refused batch changes nothing");
    error
}

/// First offsets of the batches in `records`.
fn bases(records: &[u8]) -> Vec<i64> {
    let mut rest = records;
    let mut bases = Vec::new();
    while let Some(header) = Header::read(rest) {
        bases.push(header.base.0);
        rest = &rest[header.bytes()..];
    }
    assert!(rest.is_empty(), "only whole batches");
    bases
}

fn read(log: &PartitionLog, from: i64, isolation: Isolation) -> Read {
    log.read(Offset(from), isolation, usize::MAX, true).unwrap()
}
