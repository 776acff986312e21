//! Records that no decoder of the event's schema may accept, and each kind of them countable.

use serde::Serialize;

use crate::draw::{below, mix};
use crate::record::RecordWriter;

/// How a record is spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BadKind {
    /// JSON that ends too early.
    Truncated,
    /// The temperature is a word.
    TemperatureIsText,
    /// The timestamp is none.
    TimestampIsNone,
    /// The device's id is missing.
    DeviceMissing,
    /// JSON, but no object.
    NotAnObject,
    /// A string that is not UTF-8.
    InvalidUtf8,
    /// Random bytes.
    RandomBytes,
    /// No byte at all.
    Empty,
}

impl BadKind {
    /// Every kind; the last one does not exist in a stream of lines.
    pub const ALL: [Self; 8] = [
        Self::Truncated,
        Self::TemperatureIsText,
        Self::TimestampIsNone,
        Self::DeviceMissing,
        Self::NotAnObject,
        Self::InvalidUtf8,
        Self::RandomBytes,
        Self::Empty,
    ];

    /// One of the kinds, by a draw.
    pub(crate) fn pick(draw: u64, lines: bool) -> Self {
        let kinds = Self::ALL.len() - usize::from(lines);
        Self::ALL[below(draw, kinds as u64) as usize]
    }

    /// Appends the writer's record, spoilt.
    pub(crate) fn spoil(self, writer: &RecordWriter, draw: u64, out: &mut Vec<u8>) {
        let record = writer.record();
        let places = writer.places();
        match self {
            Self::Truncated => {
                let len = 1 + below(draw, record.len() as u64 - 1) as usize;
                out.extend_from_slice(&record[..len]);
            }
            Self::TemperatureIsText => {
                replace(out, record, &places.temperature, br#""hot""#);
            }
            Self::TimestampIsNone => {
                let texts: [&[u8]; 3] = [b"yesterday", b"2025-13-45T25:61:61.000Z", b"noon"];
                replace(out, record, &places.ts, texts[below(draw, 3) as usize]);
            }
            Self::DeviceMissing => {
                // From the opening brace to the comma after the id's closing quote.
                replace(out, record, &(1..places.id.end + 2), b"");
            }
            Self::NotAnObject => {
                let texts: [&[u8]; 5] = [b"[1,2,3]", br#""OK""#, b"42", b"null", b"true"];
                out.extend_from_slice(texts[below(draw, 5) as usize]);
            }
            Self::InvalidUtf8 => {
                replace(out, record, &(places.status..places.status + 1), b"\xff");
            }
            Self::RandomBytes => random_bytes(draw, out),
            Self::Empty => {}
        }
    }
}

fn replace(out: &mut Vec<u8>, record: &[u8], range: &std::ops::Range<usize>, with: &[u8]) {
    out.extend_from_slice(&record[..range.start]);
    out.extend_from_slice(with);
    out.extend_from_slice(&record[range.end..]);
}

/// Up to 64 bytes without a line's end. The first one continues a UTF-8 sequence that nothing began,
/// so that no draw can give valid JSON.
fn random_bytes(mut draw: u64, out: &mut Vec<u8>) {
    out.push(0x80 | (draw & 0x3f) as u8);
    for _ in 0..(draw >> 8) & 0x3f {
        draw = mix(draw);
        let byte = draw as u8;
        out.push(if matches!(byte, b'\n' | b'\r') {
            0
        } else {
            byte
        });
    }
}
