//! How far a run is, on standard error: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use floodmark_generator::Tally;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plan::Plan;

/// Between two lines, where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Between two looks at the bar.
const BAR_EVERY: Duration = Duration::from_millis(100);

const WITH_COUNT: &str =
    "{elapsed_precise} {wide_bar} {human_pos} of {human_len} events, {per_sec}, {eta} left";
const WITHOUT_COUNT: &str = "{elapsed_precise} {spinner} {human_pos} events, {per_sec}";

/// Shows how far a run is.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    shown: Instant,
    shown_events: u64,
    /// Whether event times may run ahead of the clock, of which the user is told once.
    watch_future: bool,
}

impl Progress {
    pub(super) fn new(plan: &Plan, started: Instant) -> Self {
        Self {
            bar: std::io::stderr().is_terminal().then(|| bar(plan.count)),
            started,
            shown: started,
            shown_events: 0,
            watch_future: true,
        }
    }

    /// Called often; shows something when it is time.
    pub(super) fn show(&mut self, tally: &Tally, event_time_ms: i64) {
        let since = self.shown.elapsed();
        let every = if self.bar.is_some() {
            BAR_EVERY
        } else {
            LINE_EVERY
        };
        if since < every {
            return;
        }
        self.warn_of_future(event_time_ms);
        match &self.bar {
            Some(bar) => bar.set_position(tally.events),
            None => {
                let rate = (tally.events - self.shown_events) as f64 / since.as_secs_f64();
                let elapsed = self.started.elapsed().as_secs();
                eprintln!("{elapsed} s: {} events, {rate:.0}/s", tally.events);
            }
        }
        self.shown = Instant::now();
        self.shown_events = tally.events;
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn warn_of_future(&mut self, event_time_ms: i64) {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        if self.watch_future && event_time_ms > now_ms + 60_000 {
            self.watch_future = false;
            let warning = "warning: event times are now ahead of the clock, which a pipeline's \
                           max_future may refuse; an earlier --start or a smaller --interval or \
                           --speed avoids it";
            match &self.bar {
                Some(bar) => bar.suspend(|| eprintln!("{warning}")),
                None => eprintln!("{warning}"),
            }
        }
    }
}

fn bar(count: Option<u64>) -> ProgressBar {
    let template = if count.is_some() {
        WITH_COUNT
    } else {
        WITHOUT_COUNT
    };
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(count, ProgressDrawTarget::stderr()).with_style(style)
}
