//! Rows on the terminal or in a pipe: one JSON object a line.
//!
//! **At least once.** A line that was printed cannot be taken back, so rows show as soon as they
//! come, not with their checkpoint, and those that came after the last checkpoint before a crash
//! are printed again. For looking at a pipeline, and for feeding programs that can live with that;
//! `check` says so.

use std::io::Write;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

use super::kafka::json::JsonRows;
use super::{CommitPermit, Committed, OutputRows, PreCommit, Progress, Sink, SinkError};
use crate::units::Epoch;

/// Prints rows to `out`, which is flushed when a batch has been written.
pub struct ConsoleSink<W> {
    out: W,
    /// Lines of one batch; keeps its allocation.
    lines: Vec<u8>,
    /// Shown but not reported.
    shown: Committed,
    flushed: bool,
}

impl<W: Write + Send> ConsoleSink<W> {
    /// A sink that prints to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            lines: Vec::new(),
            shown: Committed::default(),
            flushed: true,
        }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        if !self.flushed {
            self.out.flush().map_err(|error| failed(&error))?;
            self.flushed = true;
        }
        Ok(())
    }
}

fn failed(error: &dyn std::fmt::Display) -> SinkError {
    SinkError::Failed {
        attempted: "writing rows to standard output".to_owned(),
        reason: error.to_string(),
    }
}

/// Appends each row as a JSON object and a line's end; null fields are left out.
pub(crate) fn append_json_lines(rows: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let objects = JsonRows::new(rows)?;
    for row in 0..rows.num_rows() {
        objects.write(row, out);
        out.push(b'\n');
    }
    Ok(())
}

impl<W: Write + Send> Sink for ConsoleSink<W> {
    fn restore(
        &mut self,
        _permit: &CommitPermit,
        _pre_commit: PreCommit,
    ) -> Result<Committed, SinkError> {
        // What was printed was counted then.
        Ok(Committed::default())
    }

    fn write(&mut self, rows: OutputRows, _progress: &[Progress]) -> Result<(), SinkError> {
        self.lines.clear();
        append_json_lines(&rows.batch, &mut self.lines).map_err(|error| failed(&error))?;
        self.out
            .write_all(&self.lines)
            .map_err(|error| failed(&error))?;
        self.flushed = false;
        self.shown += Committed {
            rows: rows.batch.num_rows() as u64,
            files: 0,
            bytes: self.lines.len() as u64,
            refused: 0,
        };
        Ok(())
    }

    fn poll(&mut self) -> Result<(Committed, Option<Duration>), SinkError> {
        self.flush()?;
        Ok((std::mem::take(&mut self.shown), None))
    }

    fn pre_commit(&mut self, _epoch: Epoch, _last: bool) -> Result<PreCommit, SinkError> {
        self.flush()?;
        Ok(PreCommit::default())
    }

    fn commit(&mut self, _permit: &CommitPermit) -> Result<Committed, SinkError> {
        // Everything has been visible, and is reported by `poll`.
        Ok(Committed::default())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use arrow::array::{Float64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn rows() -> OutputRows {
        let time = TimestampMicrosecondArray::from(vec![1_755_434_096_789_000, 0]);
        let batch = RecordBatch::try_from_iter([
            (
                "device_id",
                Arc::new(StringArray::from(vec!["a", "b\"\n"])) as _,
            ),
            ("ts", Arc::new(time.with_timezone("+00:00")) as _),
            (
                "temperature_c",
                Arc::new(Float64Array::from(vec![Some(86.5), None])) as _,
            ),
        ]);
        OutputRows {
            batch: batch.unwrap(),
            origin: None,
        }
    }

    /// Remembers what it was told, and whether that was flushed.
    #[derive(Default)]
    struct Recorder {
        buffered: Vec<u8>,
        seen: Vec<u8>,
    }

    impl Write for Recorder {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.buffered.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.seen.append(&mut self.buffered);
            Ok(())
        }
    }

    const LINES: &str = "{\"device_id\":\"a\",\"ts\":\"2025-08-17T12:34:56.789Z\",\"temperature_c\":86.5}\n\
                         {\"device_id\":\"b\\\"\\n\",\"ts\":\"1970-01-01T00:00:00.000Z\"}\n";

    #[test]
    fn each_row_is_a_json_object_on_a_line() {
        let mut sink = ConsoleSink::new(Recorder::default());
        sink.write(rows(), &[]).unwrap();
        assert!(sink.out.seen.is_empty());
        let (committed, wait) = sink.poll().unwrap();
        assert_eq!(std::str::from_utf8(&sink.out.seen).unwrap(), LINES);
        let bytes = LINES.len() as u64;
        assert_eq!(
            (committed, wait),
            (
                Committed {
                    rows: 2,
                    files: 0,
                    bytes,
                    refused: 0,
                },
                None
            )
        );
        assert_eq!(sink.poll().unwrap().0, Committed::default());
    }

    #[test]
    fn everything_is_shown_by_the_time_of_a_checkpoint_and_counted_once() {
        let mut sink = ConsoleSink::new(Recorder::default());
        sink.write(rows(), &[]).unwrap();
        let work = sink.pre_commit(Epoch(1), true).unwrap();
        assert_eq!(std::str::from_utf8(&sink.out.seen).unwrap(), LINES);
        assert!(work.carried.is_empty());
        let committed = sink.commit(&CommitPermit::new(Epoch(1))).unwrap();
        assert_eq!(committed, Committed::default());
        assert_eq!(sink.poll().unwrap().0.rows, 2);
    }

    #[test]
    fn a_closed_pipe_is_an_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = ConsoleSink::new(Closed).write(rows(), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "writing rows to standard output: broken pipe"
        );
    }
}
