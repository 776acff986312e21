//! What a client wants to append: whether it is a batch that a log may take.

use super::batch::{CHECKED_FROM, HEADER_BYTES, Header, MAGIC, NO_TIMESTAMP};
use super::error::AppendError;
use super::records::Records;
use crate::units::Offset;

/// none, gzip, snappy, lz4, zstd.
const LAST_CODEC: i16 = 4;

/// How large a batch may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct SizeLimits {
    /// `max.message.bytes`.
    pub(super) message: usize,
    /// `segment.bytes`.
    pub(super) segment: u64,
}

/// Checks what a client wants to append as Kafka does, in Kafka's order: exactly one batch, its size,
/// its checksum, what it may say of itself, and its records where they are not compressed. The header
/// that comes back has the highest timestamp that the records really have.
pub(super) fn check(bytes: &[u8], limits: SizeLimits) -> Result<Header, AppendError> {
    let header = Header::read(bytes).ok_or(AppendError::Invalid("shorter than a header"))?;
    match header.magic {
        MAGIC => {}
        0 | 1 => return Err(AppendError::Invalid("its format is older than version 2")),
        _ => return Err(AppendError::Corrupt("its format version does not exist")),
    }
    if header.size < HEADER_BYTES as i64 {
        return Err(AppendError::Corrupt("its length is less than a header"));
    }
    if header.bytes() > bytes.len() {
        return Err(AppendError::Invalid("it is cut short"));
    }
    if header.bytes() < bytes.len() {
        return Err(AppendError::Invalid("more than one batch"));
    }
    if header.base != Offset(0) {
        return Err(AppendError::Invalid("its base offset is not 0"));
    }
    if bytes.len() > limits.message {
        return Err(AppendError::TooLarge {
            size: bytes.len(),
            limit: limits.message,
        });
    }
    if crc32c::crc32c(bytes.get(CHECKED_FROM..).unwrap_or_default()) != header.crc {
        return Err(AppendError::Corrupt("its checksum does not match"));
    }
    check_claims(&header)?;
    let header = check_records(header, bytes)?;
    if bytes.len() as u64 > limits.segment {
        return Err(AppendError::LargerThanSegment {
            size: bytes.len(),
            limit: limits.segment,
        });
    }
    Ok(header)
}

/// What a client's batch may say of itself.
fn check_claims(header: &Header) -> Result<(), AppendError> {
    let invalid = |why| Err(AppendError::Invalid(why));
    if header.count <= 0 || header.last_delta < 0 {
        return invalid("it has no records");
    }
    if i64::from(header.last_delta) + 1 != i64::from(header.count) {
        return invalid("its offsets do not fit the number of its records");
    }
    if header.is_control() {
        return invalid("clients may not write control records");
    }
    match header.producer() {
        Some(_) if header.base_sequence < 0 => return invalid("its sequence number is negative"),
        Some(producer) if producer.epoch < 0 => return invalid("its producer epoch is negative"),
        None if header.is_transactional() => return invalid("a transaction without a producer"),
        _ => {}
    }
    if header.is_stamped() {
        return Err(AppendError::TimestampType);
    }
    if header.codec() > LAST_CODEC {
        return Err(AppendError::Codec(header.codec() as u8));
    }
    Ok(())
}

/// Walks the records of a batch that is not compressed: they must be as many as it says, in order, and
/// fill it. Compressed ones are taken at their word, and found out by the reader that decompresses.
fn check_records(mut header: Header, bytes: &[u8]) -> Result<Header, AppendError> {
    if !header.is_plain() {
        return Ok(header);
    }
    let mut max_timestamp = NO_TIMESTAMP;
    let mut expected = 0;
    for record in Records::of(&header, bytes) {
        let record = record.ok_or(AppendError::Invalid("its records are malformed"))?;
        if record.delta != expected {
            return Err(AppendError::Invalid("its records are not in order"));
        }
        expected += 1;
        max_timestamp = max_timestamp.max(record.timestamp);
    }
    if expected != i64::from(header.count) {
        return Err(AppendError::Invalid(
            "it has not as many records as it says",
        ));
    }
    header.max_timestamp = max_timestamp;
    Ok(header)
}
