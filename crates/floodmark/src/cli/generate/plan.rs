//! What a run does, worked out from its flags.

use std::time::Duration;

use floodmark_generator::{Config, Spacing};
use jiff::Timestamp;
use serde::Serialize;

use super::Args;
use super::pace::Pace;
use super::values::Rate;
use crate::os::StopFlag;

/// How often a device reports unless said otherwise.
const INTERVAL: Duration = Duration::from_secs(1);
/// Where a run without an end begins whose event time is faster than the clock.
const HEAD_START: Duration = Duration::from_hours(24);

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Ending {
    /// All events were generated.
    Count,
    /// The time was over.
    Duration,
    /// It was asked to: SIGINT or SIGTERM.
    Signal,
    /// Whoever read standard output stopped reading.
    #[serde(skip)]
    ReaderGone,
}

/// A run.
#[derive(Debug)]
pub(super) struct Plan {
    /// The simulation.
    pub config: Config,
    /// When events are due.
    pub pace: Pace,
    /// Stop after so many events.
    pub count: Option<u64>,
    /// Stop after this time, where that is not a number of events.
    pub run_for: Option<Duration>,
    /// Events per second; none is as fast as possible.
    pub rate: Option<f64>,
}

impl Plan {
    /// Of these flags, at this time; otherwise what is wrong with them.
    pub(super) fn new(args: &Args, now: Timestamp) -> Result<Self, String> {
        let (rate, spacing) = rate_and_spacing(args)?;
        // At a rate, a time is a number of events: the same bytes however the clock ran.
        let (count, run_for) = match (rate, args.run_for) {
            (Some(rate), Some(run_for)) => {
                let events = (run_for.as_secs_f64() * rate).round() as u64;
                (
                    Some(args.count.map_or(events, |count| count.min(events))),
                    None,
                )
            }
            (_, run_for) => (args.count, run_for),
        };
        let mut config = Config {
            devices: args.devices,
            seed: args.seed,
            start_ms: 0,
            spacing,
            anomalies: args.anomalies,
            late: args.late,
            bad: args.bad,
            disorder: args.disorder,
            lines: args.out.is_some(),
        };
        config.start_ms = match args.start {
            Some(start) => start.as_millisecond(),
            None => now.as_millisecond() - head_start(&config, rate, count).as_millis() as i64,
        };
        config.validate().map_err(|error| match args.start {
            // Chosen here, not by the user.
            None => format!("{error}; give --start, a smaller --interval or a smaller --speed"),
            Some(_) => error.to_string(),
        })?;
        Ok(Self {
            config,
            pace: Pace::new(rate),
            count,
            run_for,
            rate,
        })
    }

    /// How the run ends, if it ends now.
    pub(super) fn ending(&self, sent: u64, elapsed: Duration, stop: &StopFlag) -> Option<Ending> {
        if self.count.is_some_and(|count| sent >= count) {
            Some(Ending::Count)
        } else if self.run_for.is_some_and(|run_for| elapsed >= run_for) {
            Some(Ending::Duration)
        } else {
            stop.is_set().then_some(Ending::Signal)
        }
    }

    /// How many events are left to send.
    pub(super) fn left(&self, sent: u64) -> u64 {
        self.count
            .map_or(u64::MAX, |count| count.saturating_sub(sent))
    }
}

fn rate_and_spacing(args: &Args) -> Result<(Option<f64>, Spacing), String> {
    match args.rate {
        Rate::Max if args.speed.is_some() => Err(
            "--speed relates event time to the clock, which --rate max ignores; use --interval"
                .to_owned(),
        ),
        Rate::Max => {
            let interval = args.interval.unwrap_or(INTERVAL);
            Ok((None, Spacing::Interval(interval)))
        }
        Rate::PerSecond(_) if args.interval.is_some() => Err(
            "how often a device reports follows from --rate and --devices; \
             --interval goes with --rate max"
                .to_owned(),
        ),
        Rate::PerSecond(rate) => {
            let per_second = rate / args.speed.unwrap_or(1.0);
            Ok((Some(rate), Spacing::PerSecond(per_second)))
        }
    }
}

/// How far before now a run begins, so that its event times do not lie in the future.
fn head_start(config: &Config, rate: Option<f64>, count: Option<u64>) -> Duration {
    let faster = match (rate, config.spacing) {
        (Some(rate), Spacing::PerSecond(per_second)) => per_second < rate,
        _ => true,
    };
    match count {
        _ if !faster => Duration::ZERO,
        None => HEAD_START,
        Some(count) => {
            let takes = rate.map_or(0.0, |rate| count as f64 / rate);
            let takes = Duration::try_from_secs_f64(takes).unwrap_or(Duration::MAX);
            // Fifty centuries are beyond what validation lets pass, and fit the arithmetic.
            let covered = config.covered(count).saturating_sub(takes);
            covered.min(Duration::from_hours(24 * 365 * 5_000))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    const NOW_MS: i64 = 1_755_434_096_789;

    fn plan(flags: &str) -> Result<Plan, String> {
        let flags = ["generate", "--out", "-"]
            .into_iter()
            .chain(flags.split_whitespace());
        let command = Command::try_parse_from(flags).map_err(|error| error.to_string())?;
        Plan::new(&command.args, Timestamp::from_millisecond(NOW_MS).unwrap())
    }

    /// How many seconds before now a run with these flags begins.
    fn start_before_now(flags: &str) -> f64 {
        (NOW_MS - plan(flags).unwrap().config.start_ms) as f64 / 1_000.0
    }

    #[test]
    fn a_run_at_the_clock_s_speed_starts_now() {
        assert_eq!(start_before_now("--rate 50"), 0.0);
        assert_eq!(start_before_now("--rate 50 --speed 0.5 --count 100"), 0.0);
    }

    #[test]
    fn a_run_faster_than_the_clock_arrives_at_now() {
        assert_eq!(start_before_now("--rate max --count 10000000"), 10_000.0);
        assert_eq!(
            start_before_now("--rate max --count 10000000 --devices 200000"),
            50.0
        );
        assert_eq!(
            start_before_now("--rate 100 --speed 61 --count 1000"),
            600.0
        );
        assert_eq!(start_before_now("--rate max"), 86_400.0);
        assert_eq!(start_before_now("--rate max --for 10s"), 86_400.0);
    }

    #[test]
    fn at_a_rate_a_time_is_a_number_of_events() {
        let plan = plan("--rate 50 --for 2m").unwrap();
        assert_eq!((plan.count, plan.run_for), (Some(6_000), None));
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        assert!(
            plan("--rate max --speed 2")
                .unwrap_err()
                .contains("--interval")
        );
        assert!(
            plan("--rate 5 --interval 2s")
                .unwrap_err()
                .contains("--rate max")
        );
        assert!(
            plan("--rate max --start 1969-01-01")
                .unwrap_err()
                .contains("1971")
        );
        let far = plan("--rate max --devices 1 --interval 10d --count 100000").unwrap_err();
        assert!(far.contains("give --start"), "{far}");
    }

    #[test]
    fn the_number_of_events_is_kept_to() {
        let plan = plan("--rate max --count 3000").unwrap();
        assert_eq!(plan.left(2_048), 952);
        assert_eq!(plan.left(3_000), 0);
    }
}
