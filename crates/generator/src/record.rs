//! How a reading is written: one JSON object of a fixed layout, patched in place.
//!
//! ```text
//! {"device_id":"MTR-00123","ts":"2025-08-17T12:34:56.789Z","temperature_c":78.60,"vibration_g":0.120,"status":"OK","site":"fab1","line":"L01"}
//! ```
//! All but the status has a width that is known when the simulation starts, so writing an event is a few
//! digits, one copy of the tail for its status and line, and one copy out.

use std::ops::Range;

use jiff::ToSpan;
use jiff::civil::date;

use crate::config::MAX_TIME_MS;
use crate::device::{Reading, Status};

const MILLIS_PER_DAY: i64 = 86_400_000;
const SITES: u32 = 4;
const LINES_PER_SITE: u32 = 12;
const PREFIX: &str = "MTR-";
const DATE_TIME: &str = "0000-00-00T00:00:00.000Z";
/// Room for a tail; each is shorter.
const TAIL: usize = 64;
/// Room for a record with the longest id and a whole tail.
const SCRATCH: usize = 192;

/// The writer of a simulation's records. Holds the last one written.
#[derive(Clone)]
pub(crate) struct RecordWriter {
    scratch: [u8; SCRATCH],
    /// Length of the record in `scratch`.
    len: usize,
    /// Of the longest tails, by status and line.
    tails: Vec<Tail>,
    places: Places,
    /// The day whose date stands in `scratch`.
    day: i64,
}

impl std::fmt::Debug for RecordWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordWriter")
            .field("record", &String::from_utf8_lossy(self.record()))
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
struct Tail {
    text: [u8; TAIL],
    len: usize,
}

/// Where things stand in a record.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The device's id, without quotes.
    pub id: Range<usize>,
    /// The timestamp, without quotes.
    pub ts: Range<usize>,
    /// The temperature.
    pub temperature: Range<usize>,
    /// The vibration.
    pub vibration: Range<usize>,
    /// Where the status's first letter stands.
    pub status: usize,
}

impl RecordWriter {
    /// Of a simulation with this many devices.
    pub(crate) fn new(devices: u32) -> Self {
        let digits = (devices.ilog10() as usize + 1).max(5);
        let mut head = String::from(r#"{"device_id":""#);
        let mut field = |text: &str, next: &str| {
            let range = head.len()..head.len() + text.len();
            head.push_str(text);
            head.push_str(next);
            range
        };
        let id = field(&format!("{PREFIX}{:0>digits$}", ""), r#"","ts":""#);
        let ts = field(DATE_TIME, r#"","temperature_c":"#);
        let temperature = field("00.00", r#","vibration_g":"#);
        let vibration = field("0.000", "");
        let status = head.len() + r#","status":""#.len();
        let mut scratch = [0; SCRATCH];
        scratch[..head.len()].copy_from_slice(head.as_bytes());
        Self {
            scratch,
            len: head.len(),
            tails: tails(),
            places: Places {
                id,
                ts,
                temperature,
                vibration,
                status,
            },
            day: i64::MIN,
        }
    }

    /// Writes a device's reading.
    #[inline]
    pub(crate) fn write(&mut self, device: u32, time_ms: i64, reading: Reading) {
        let Places {
            id,
            ts,
            temperature,
            vibration,
            ..
        } = self.places.clone();
        digits(
            &mut self.scratch[id.start + PREFIX.len()..id.end],
            device + 1,
        );
        self.write_time(ts, time_ms);
        let hundredths = reading.temperature as u32;
        digits(
            &mut self.scratch[temperature.start..][..2],
            hundredths / 100,
        );
        digits(
            &mut self.scratch[temperature.start + 3..][..2],
            hundredths % 100,
        );
        let thousandths = reading.vibration as u32;
        digits(
            &mut self.scratch[vibration.start..][..1],
            thousandths / 1_000,
        );
        digits(
            &mut self.scratch[vibration.start + 2..][..3],
            thousandths % 1_000,
        );
        let line = device % (SITES * LINES_PER_SITE);
        let tail = &self.tails
            [reading.status as usize * (SITES * LINES_PER_SITE) as usize + line as usize];
        self.scratch[vibration.end..vibration.end + TAIL].copy_from_slice(&tail.text);
        self.len = vibration.end + tail.len;
    }

    /// The record written last.
    #[inline]
    pub(crate) fn record(&self) -> &[u8] {
        &self.scratch[..self.len]
    }

    /// The id of the device whose record was written last.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        &self.scratch[self.places.id.clone()]
    }

    /// Where things stand in every record.
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    #[inline]
    fn write_time(&mut self, ts: Range<usize>, time_ms: i64) {
        let time_ms = time_ms.clamp(0, MAX_TIME_MS);
        let day = time_ms / MILLIS_PER_DAY;
        if day != self.day {
            self.write_date(ts.start, day);
        }
        let in_day = (time_ms % MILLIS_PER_DAY) as u32;
        let (seconds, millis) = (in_day / 1_000, in_day % 1_000);
        let text = &mut self.scratch[ts];
        digits(&mut text[11..13], seconds / 3_600);
        digits(&mut text[14..16], seconds / 60 % 60);
        digits(&mut text[17..19], seconds % 60);
        digits(&mut text[20..23], millis);
    }

    #[cold]
    fn write_date(&mut self, start: usize, day: i64) {
        // In range by the caller's clamp.
        if let Ok(date) = date(1970, 1, 1).checked_add(day.days()) {
            let text = &mut self.scratch[start..start + 10];
            digits(&mut text[..4], date.year().unsigned_abs().into());
            digits(&mut text[5..7], date.month().unsigned_abs().into());
            digits(&mut text[8..10], date.day().unsigned_abs().into());
            self.day = day;
        }
    }
}

/// What follows the vibration, by status and line.
fn tails() -> Vec<Tail> {
    let mut tails = Vec::new();
    for status in Status::ALL {
        for line in 0..SITES * LINES_PER_SITE {
            let (site, line) = (line % SITES + 1, line / SITES + 1);
            let status = status.text();
            let tail = format!(r#","status":"{status}","site":"fab{site}","line":"L{line:02}"}}"#);
            let mut text = [0; TAIL];
            text[..tail.len()].copy_from_slice(tail.as_bytes());
            tails.push(Tail {
                text,
                len: tail.len(),
            });
        }
    }
    tails
}

/// Fills `text` with the last decimal digits of `value`.
#[inline]
fn digits(text: &mut [u8], mut value: u32) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(devices: u32, device: u32, time_ms: i64, reading: Reading) -> String {
        let mut writer = RecordWriter::new(devices);
        writer.write(device, time_ms, reading);
        String::from_utf8(writer.record().to_vec()).unwrap()
    }

    #[test]
    fn a_record_is_the_documented_object() {
        let reading = Reading {
            temperature: 7_860,
            vibration: 120,
            status: Status::Ok,
        };
        assert_eq!(
            written(1_000, 122, 1_755_434_096_789, reading),
            r#"{"device_id":"MTR-00123","ts":"2025-08-17T12:34:56.789Z","temperature_c":78.60,"vibration_g":0.120,"status":"OK","site":"fab3","line":"L07"}"#
        );
    }

    #[test]
    fn the_longest_record_fits() {
        let reading = Reading {
            temperature: 9_999,
            vibration: 1_201,
            status: Status::Fault,
        };
        let text = written(1_000_000_000, 999_999_999, MAX_TIME_MS, reading);
        assert!(
            text.contains(r#""MTR-1000000000","ts":"9999-12-31T23:59:59.999Z","#),
            "{text}"
        );
        assert!(
            text.ends_with(r#""vibration_g":1.201,"status":"FAULT","site":"fab4","line":"L04"}"#),
            "{text}"
        );
    }

    #[test]
    fn the_date_follows_the_time_in_both_directions() {
        let mut writer = RecordWriter::new(10);
        let reading = Reading {
            temperature: 5_000,
            vibration: 100,
            status: Status::Ok,
        };
        for (time_ms, text) in [
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        ] {
            writer.write(1, time_ms, reading);
            let ts = &writer.record()[writer.places().ts.clone()];
            assert_eq!(ts, text.as_bytes());
        }
    }
}
