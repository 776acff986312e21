//! The ledger: where every record went.
//!
//! INV-LEDGER: for each output, `read = taken + filtered + late + bad + null_time`. Each class is
//! counted where the record leaves the path, not derived from the others, so the sum is a check:
//! it is made at every checkpoint, on writing and on reading, and the engine stops if it fails.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The ledger of one source, since the pipeline's first start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Records read.
    pub read: u64,
    /// Records that could not be decoded.
    pub bad: u64,
    /// Rows without an event time.
    pub null_time: u64,
    /// Rows whose event time was too far ahead to move the watermark (they are in a class below
    /// as well).
    pub future: u64,
    /// What each output that reads the source did with the rest.
    pub outputs: BTreeMap<String, OutputLedger>,
}

/// What one output did with the rows of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputLedger {
    /// Rows aggregated into a window or routed to the sink.
    pub taken: u64,
    /// Rows that a WHERE clause refused.
    pub filtered: u64,
    /// Rows whose window had fired.
    pub late: u64,
}

/// A ledger that does not balance: an engine defect, or a damaged checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "INV-LEDGER: the ledger of source '{source_name}' does not balance for output '{output}': \
     read {read}, accounted for {accounted}. This is a defect of Floodmark; please report it"
)]
pub struct Imbalance {
    /// Source.
    pub source_name: String,
    /// Output.
    pub output: String,
    /// Records read.
    pub read: u64,
    /// Sum of all classes.
    pub accounted: u64,
}

impl Ledger {
    /// Checks INV-LEDGER.
    pub fn check(&self, source_name: &str) -> Result<(), Imbalance> {
        for (output, counts) in &self.outputs {
            let accounted =
                counts.taken + counts.filtered + counts.late + self.bad + self.null_time;
            if accounted != self.read {
                return Err(Imbalance {
                    source_name: source_name.to_owned(),
                    output: output.clone(),
                    read: self.read,
                    accounted,
                });
            }
        }
        Ok(())
    }
}

impl std::ops::AddAssign<&Self> for Ledger {
    fn add_assign(&mut self, other: &Self) {
        self.read += other.read;
        self.bad += other.bad;
        self.null_time += other.null_time;
        self.future += other.future;
        for (output, counts) in &other.outputs {
            let mine = self.outputs.entry(output.clone()).or_default();
            mine.taken += counts.taken;
            mine.filtered += counts.filtered;
            mine.late += counts.late;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(late: u64) -> Ledger {
        let counts = OutputLedger {
            taken: 5,
            filtered: 2,
            late,
        };
        Ledger {
            read: 10,
            bad: 1,
            null_time: 1,
            future: 3,
            outputs: [("curated".to_owned(), counts)].into(),
        }
    }

    #[test]
    fn a_ledger_that_accounts_for_every_record_balances() {
        assert_eq!(ledger(1).check("s"), Ok(()));
    }

    #[test]
    fn a_record_that_went_nowhere_is_found() {
        let imbalance = ledger(0).check("s").unwrap_err();
        assert_eq!((imbalance.read, imbalance.accounted), (10, 9));
    }

    #[test]
    fn sums_balance_when_their_parts_do() {
        let mut sum = ledger(1);
        sum += &ledger(1);
        assert_eq!(sum.check("s"), Ok(()));
        assert_eq!(sum.outputs["curated"].taken, 10);
    }
}
