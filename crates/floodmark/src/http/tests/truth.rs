//! What is put in, and so must come out.

use crate::http::time::instant;

pub(super) const MINUTE_MS: i64 = 60_000;
/// The pipeline's delay.
pub(super) const DELAY_MS: i64 = 10_000;
/// Devices, each with a reading every ten seconds.
pub(super) const DEVICES: i64 = 5;
/// Whole minutes of readings.
pub(super) const MINUTES: i64 = 6;

/// What was put in.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) records: Vec<String>,
    /// Greatest event time that may be believed.
    pub(super) newest_ms: i64,
    pub(super) good: u64,
    pub(super) alerts: u64,
    pub(super) filtered: u64,
    pub(super) future: u64,
    pub(super) late: u64,
    pub(super) bad: u64,
    pub(super) null_time: u64,
}

impl Truth {
    fn reading(&mut self, device: i64, at_ms: i64, temperature: Option<f64>) {
        let temperature = temperature.map_or("null".to_owned(), |t| format!("{t:.1}"));
        let ts = instant(at_ms).expect("a year that can be written");
        self.records.push(format!(
            r#"{{"device_id":"d{device}","ts":"{ts}","temperature_c":{temperature}}}"#
        ));
    }

    /// Minutes of readings that begin at `start_ms`, one of ten an alert, and what else there is.
    pub(super) fn of(start_ms: i64) -> Self {
        let mut truth = Self::default();
        for second in (0..MINUTES * 60).step_by(10) {
            let at_ms = start_ms + second * 1_000;
            for device in 0..DEVICES {
                let hot = truth.good.is_multiple_of(10);
                truth.reading(device, at_ms, Some(if hot { 90.0 } else { 20.0 }));
                truth.good += 1;
                truth.alerts += u64::from(hot);
            }
            truth.newest_ms = at_ms;
        }
        for device in 0..7 {
            truth.reading(device, truth.newest_ms, None);
            truth.filtered += 1;
        }
        for _ in 0..4 {
            truth.records.push("{\"device_id\":".to_owned());
            truth.bad += 1;
        }
        for device in 0..3 {
            truth.records.push(format!(
                r#"{{"device_id":"d{device}","temperature_c":1.0}}"#
            ));
            truth.null_time += 1;
        }
        let ahead_ms = truth.newest_ms + 24 * 60 * MINUTE_MS;
        truth.reading(0, ahead_ms, Some(20.0));
        truth.future += 1;
        truth
    }

    /// Rows of a window that has fired.
    pub(super) fn come_late(&mut self, start_ms: i64) -> Vec<String> {
        let before = self.records.len();
        for device in 0..3 {
            self.reading(device, start_ms, Some(20.0));
            self.late += 1;
        }
        self.records[before..].to_vec()
    }

    /// Windows whose end the watermark has reached.
    pub(super) fn fired(&self, start_ms: i64) -> u64 {
        ((self.newest_ms - DELAY_MS - start_ms) / MINUTE_MS) as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.records.iter().map(|record| record.len() as u64).sum()
    }
}
