//! The live status: a few lines on a terminal that follow the run, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use floodmark_engine::runtime::{Phase, SourceStatus, Status};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::log::{LogArgs, LogFormat, LogWriter};

/// Between two status lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Rates are taken over at least this long.
const RATE_OVER: Duration = Duration::from_secs(1);

/// What is said when the end was asked for.
pub(in crate::cli) const DRAINING: &str =
    "draining: finishing what was read, then a last checkpoint (again to quit at once)";

/// Where the status goes.
pub(in crate::cli) struct Screen {
    bars: Option<MultiProgress>,
}

impl Screen {
    pub(in crate::cli) fn new(log: &LogArgs) -> Self {
        let live = std::io::stderr().is_terminal() && log.format() == LogFormat::Text;
        Self {
            bars: live.then(MultiProgress::new),
        }
    }

    /// Where log lines go so that they do not tear the status apart.
    pub(in crate::cli) fn log_writer(&self) -> LogWriter {
        LogWriter::new(self.bars.clone())
    }

    pub(in crate::cli) fn start(self, pipeline: &str) -> Live {
        Live {
            bars: self.bars,
            view: None,
            pipeline: pipeline.to_owned(),
            shown: Instant::now(),
            rate: Rate {
                at: Instant::now(),
                read: 0,
                per_second: 0.0,
            },
            aside: None,
            note: None,
        }
    }
}

/// The live status of one run.
pub(in crate::cli) struct Live {
    bars: Option<MultiProgress>,
    /// All lines are one bar's message, so that they are always of one moment.
    view: Option<ProgressBar>,
    pipeline: String,
    shown: Instant,
    rate: Rate,
    /// What stands below the first line.
    aside: Option<String>,
    note: Option<String>,
}

struct Rate {
    at: Instant,
    read: u64,
    per_second: f64,
}

impl Live {
    /// Says something that stays in view.
    pub(in crate::cli) fn note(&mut self, text: &str) {
        self.note = Some(text.to_owned());
        if self.bars.is_none() {
            tracing::info!("{text}");
        }
    }

    /// Says something that scrolls by: above the live status, or as a log line where there is none.
    pub(in crate::cli) fn print(&self, text: &str) {
        match &self.bars {
            // Past the bars, which would fill the lines up with spaces: what is to be copied is not.
            Some(bars) => bars.suspend(|| eprintln!("{text}")),
            None => tracing::info!("{text}"),
        }
    }

    /// Whether there is a live status.
    pub(in crate::cli) fn is_live(&self) -> bool {
        self.bars.is_some()
    }

    /// Sets the line below the first one.
    pub(in crate::cli) fn aside(&mut self, text: String) {
        self.aside = Some(text);
    }

    /// Shows a status when it is time.
    pub(in crate::cli) fn show(&mut self, status: &Status) {
        if status.phase == Phase::Starting {
            return;
        }
        self.measure(status);
        if self.bars.is_some() {
            let lines = self.compose(status);
            self.draw(&lines);
        } else if self.shown.elapsed() >= LINE_EVERY {
            self.shown = Instant::now();
            self.log(status);
        }
    }

    /// Leaves the last lines standing.
    pub(in crate::cli) fn finish(&self) {
        if let Some(view) = &self.view {
            view.abandon();
        }
    }

    fn measure(&mut self, status: &Status) {
        let read: u64 = status.sources.values().map(|source| source.read_now).sum();
        let over = self.rate.at.elapsed();
        if over >= RATE_OVER {
            // Less than before if the run has begun anew.
            let per_second = read.saturating_sub(self.rate.read) as f64 / over.as_secs_f64();
            self.rate = Rate {
                at: Instant::now(),
                read,
                per_second,
            };
        }
    }

    fn draw(&mut self, lines: &[String]) {
        let Some(bars) = &self.bars else { return };
        let view = self.view.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{msg}");
            let view = ProgressBar::new_spinner();
            view.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bars.add(view)
        });
        view.set_message(lines.join("\n"));
    }

    fn log(&self, status: &Status) {
        for (name, source) in &status.sources {
            tracing::info!(
                source = name,
                events_per_second = self.rate.per_second.round(),
                read = source.read_now,
                lag = source.lag,
                behind_seconds = source.watermark.map(behind_seconds),
                bad = source.ledger.bad,
                checkpoint = status.checkpoint.epoch.0,
                "running"
            );
        }
    }

    fn compose(&self, status: &Status) -> Vec<String> {
        let phase = match status.phase {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Draining => "draining",
            Phase::Finished => "finished",
        };
        let mut lines = vec![format!(
            "{}  {phase} {}  {} events/s",
            self.pipeline,
            clock(status.elapsed_seconds),
            human(self.rate.per_second.round() as u64),
        )];
        lines.extend(self.aside.iter().map(|aside| format!("  {aside}")));
        for (name, source) in &status.sources {
            lines.extend(source_lines(name, source));
        }
        for (name, output) in &status.outputs {
            let files = match output.committed.files {
                0 => String::new(),
                files => format!(
                    " in {} files ({})",
                    human(files),
                    bytes(output.committed.bytes)
                ),
            };
            let open = match output.open_windows {
                0 => String::new(),
                open => format!(
                    ", {open} windows open, {} groups",
                    human(output.open_groups as u64)
                ),
            };
            lines.push(format!(
                "  output {name}: {} rows{files}{open}",
                human(output.committed.rows)
            ));
        }
        let aside = |output: &Option<floodmark_engine::runtime::OutputStatus>| {
            output
                .as_ref()
                .map_or("not kept".to_owned(), |o| human(o.committed.rows))
        };
        lines.push(format!(
            "  dead letters: {}   late rows: {}",
            aside(&status.dead_letter),
            aside(&status.late)
        ));
        let checkpoint = &status.checkpoint;
        let age = checkpoint
            .age_seconds
            .map_or("none yet by this run".to_owned(), |age| {
                format!(
                    "{age:.0} s ago, took {:.2} s",
                    checkpoint.last_seconds.unwrap_or_default()
                )
            });
        lines.push(format!(
            "  checkpoint {} (generation {}): {age}   state {}",
            checkpoint.epoch,
            checkpoint.generation,
            bytes(status.state_bytes as u64)
        ));
        if status.phase != Phase::Finished {
            let hint = "Ctrl-C drains, checkpoints and ends";
            lines.push(format!("  {}", self.note.as_deref().unwrap_or(hint)));
        }
        lines
    }
}

fn source_lines(name: &str, source: &SourceStatus) -> Vec<String> {
    let lag = source.lag.map_or("unknown".to_owned(), human);
    let trouble = match (&source.trouble, source.reachable) {
        (Some(trouble), _) => format!("   NOT ANSWERING: {trouble}"),
        (None, false) => "   not answering".to_owned(),
        (None, true) => String::new(),
    };
    let mut lines = vec![format!(
        "  source {name}: read {}, lag {lag}{trouble}",
        human(source.ledger.read)
    )];
    if let Some(watermark) = source.watermark {
        let held = source.held_back_by.map_or("quiet".to_owned(), |held| {
            format!("partition {} is last", held.partition)
        });
        let at = jiff::Timestamp::from_millisecond(watermark.0);
        let at = at.map_or_else(|_| watermark.0.to_string(), |at| format!("{at:.3}"));
        lines.push(format!(
            "    watermark {at}, {} the clock, {held}",
            against(behind_seconds(watermark))
        ));
    }
    for (output, counts) in &source.ledger.outputs {
        lines.push(format!(
            "    ledger {output}: {} = {} taken + {} filtered + {} late + {} bad + {} without time",
            human(source.ledger.read),
            human(counts.taken),
            human(counts.filtered),
            human(counts.late),
            human(source.ledger.bad),
            human(source.ledger.null_time),
        ));
    }
    lines
}

fn behind_seconds(watermark: floodmark_engine::watermark::Watermark) -> f64 {
    (jiff::Timestamp::now().as_millisecond() - watermark.0) as f64 / 1_000.0
}

/// A number with thousands apart.
pub(in crate::cli) fn human(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

fn clock(seconds: f64) -> String {
    let whole = seconds as u64;
    format!(
        "{:02}:{:02}:{:02}",
        whole / 3_600,
        whole / 60 % 60,
        whole % 60
    )
}

fn against(behind_seconds: f64) -> String {
    let side = if behind_seconds < 0.0 {
        "ahead of"
    } else {
        "behind"
    };
    format!("{} {side}", span(behind_seconds.abs()))
}

fn span(seconds: f64) -> String {
    match seconds.abs() {
        s if s < 120.0 => format!("{seconds:.1} s"),
        s if s < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", seconds / 3_600.0),
        _ => format!("{:.0} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!(human(0), "0");
        assert_eq!(human(999), "999");
        assert_eq!(human(1_000), "1,000");
        assert_eq!(human(1_234_567), "1,234,567");
    }

    #[test]
    fn a_watermark_is_behind_the_clock_or_ahead_of_it() {
        assert_eq!(against(10.04), "10.0 s behind");
        assert_eq!(against(-48.5), "48.5 s ahead of");
    }

    #[test]
    fn spans_choose_their_unit() {
        assert_eq!(span(1.25), "1.2 s");
        assert_eq!(span(600.0), "10 min");
        assert_eq!(span(40_000_000.0), "463 days");
    }
}
