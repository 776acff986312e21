//! The demo's events: a generator on a thread of its own.
//!
//! Event time begins in the past, so that there are closed windows at once: what fell due since then is
//! sent as fast as possible, and from then on event time follows the clock. A later demo in the same
//! directory goes on where the last one stopped, or as far back as the first one began, whichever is
//! later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use floodmark_engine::runtime::StopSignal;
use floodmark_generator::{Config, Simulator, Spacing};
use floodmark_pipeline::KafkaCluster;

use super::directory::Position;
use crate::cli::generate::flow::{Next, Standing, flow};
use crate::cli::generate::kafka::KafkaTarget;
use crate::cli::generate::pace::Pace;
use crate::cli::generate::plan::Ending;
use crate::cli::generate::target::Target;
use crate::cli::generate::values::Rate;

/// How far back event time begins.
const LEAD: Duration = Duration::from_mins(5);
/// The same where as much as possible is asked for.
const MAX_LEAD: Duration = Duration::from_hours(24);
/// How often a device reports then: as often as twenty of them do that send 50 events a second.
const MAX_INTERVAL: Duration = Duration::from_millis(400);
/// Event time is given out for this much longer than is needed now, so that the position is written
/// once in this time.
const RESERVE_MS: i64 = 1_000;
/// Event time that is no further behind the clock is said to follow it.
pub(super) const FOLLOWS: Duration = Duration::from_secs(1);
/// Seed of the first demo in a directory; each further one takes the next.
const SEED: u64 = 42;

/// What flows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    config_start_ms: i64,
    devices: u32,
    per_second: f64,
    seed: u64,
    /// How long before now event time begins.
    lead: Duration,
}

/// How far the events are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Events sent by this demo.
    pub(super) events: u64,
    /// How far behind the clock event time is.
    pub(super) behind: Duration,
    /// Whether it has caught up with the clock once.
    pub(super) follows: bool,
}

/// The ends of the topic's partitions when everything was delivered.
pub(super) type Ends = BTreeMap<i32, i64>;

/// Events that flow.
#[derive(Debug)]
pub(super) struct Traffic {
    thread: JoinHandle<anyhow::Result<(Ends, Position)>>,
    stop: StopSignal,
    progress: Arc<Mutex<Progress>>,
}

impl Flow {
    /// Of this rate, from where event time stands.
    pub(super) fn new(rate: Rate, devices: u32, position: &Position, now_ms: i64) -> Self {
        let (per_second, lead) = match rate {
            Rate::PerSecond(rate) => (rate, LEAD),
            Rate::Max => (f64::from(devices) / MAX_INTERVAL.as_secs_f64(), MAX_LEAD),
        };
        let earliest_ms = now_ms - lead.as_millis() as i64;
        let start_ms = position
            .event_time_until_ms()
            .map_or(earliest_ms, |until_ms| until_ms.max(earliest_ms));
        Self {
            config_start_ms: start_ms,
            devices,
            per_second,
            seed: SEED.wrapping_add(position.starts() - 1),
            // Nothing is owed where event time is ahead of the clock.
            lead: Duration::from_millis(u64::try_from(now_ms - start_ms).unwrap_or(0)),
        }
    }

    /// How long before the clock event time begins.
    pub(super) fn lead(&self) -> Duration {
        self.lead
    }

    /// Events a second, once event time follows the clock.
    pub(super) fn per_second(&self) -> f64 {
        self.per_second
    }

    fn config(&self) -> Config {
        Config {
            devices: self.devices,
            seed: self.seed,
            start_ms: self.config_start_ms,
            spacing: Spacing::PerSecond(self.per_second),
            anomalies: 0.01,
            late: 0.002,
            bad: 0.001,
            disorder: Duration::from_secs(2),
            lines: false,
        }
    }
}

impl Traffic {
    /// Lets events flow into a topic that exists.
    pub(super) fn start(
        flow: Flow,
        position: Position,
        brokers: &str,
        topic: &str,
    ) -> anyhow::Result<Self> {
        let (stop, progress) = (StopSignal::new(), Arc::new(Mutex::new(Progress::default())));
        let body = {
            let (stop, progress) = (stop.clone(), Arc::clone(&progress));
            let topic = topic.to_owned();
            let cluster = KafkaCluster {
                brokers: brokers.to_owned(),
                properties: BTreeMap::new(),
            };
            // The client stays on the thread that made it.
            move || {
                let target = KafkaTarget::open(&cluster, &topic, Some(flow.per_second))?;
                generate(&flow, position, target, &stop, &progress)
            }
        };
        let thread = std::thread::Builder::new()
            .name("generator".to_owned())
            .spawn(body)
            .context("starting the generator")?;
        Ok(Self {
            thread,
            stop,
            progress,
        })
    }

    /// Asks for the end: what was generated is delivered.
    pub(super) fn stop(&self) {
        self.stop.stop();
    }

    /// Whether it has ended, because it was asked to or because it failed.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end: where the topic ends, and where event time stands.
    pub(super) fn join(self) -> anyhow::Result<(Ends, Position)> {
        match self.thread.join() {
            Ok(outcome) => outcome.context("the generator stopped"),
            Err(_) => Err(anyhow!("the generator panicked; please report it")),
        }
    }
}

/// Generates until it is asked to end, and sees everything delivered.
fn generate(
    of: &Flow,
    mut position: Position,
    target: KafkaTarget,
    stop: &StopSignal,
    progress: &Mutex<Progress>,
) -> anyhow::Result<(Ends, Position)> {
    let mut simulator = Simulator::new(&of.config())?;
    let mut target = Target::Kafka(target);
    flow(
        &mut simulator,
        pace(of),
        &mut target,
        Instant::now(),
        |standing| {
            note(progress, of, standing);
            if stop.is_stopped() {
                return Ok(Next::End(Ending::Signal));
            }
            reserve(&mut position, of, standing)?;
            Ok(Next::AtMost(u64::MAX))
        },
    )?;
    position.set(simulator.event_time_ms())?;
    let ends = match target {
        Target::Kafka(target) => target.ends()?,
        _ => Ends::new(),
    };
    Ok((ends, position))
}

fn pace(flow: &Flow) -> Pace {
    Pace::new(Some(flow.per_second)).since(flow.lead)
}

fn note(progress: &Mutex<Progress>, flow: &Flow, standing: &Standing<'_>) {
    let behind = pace(flow).behind(standing.tally.events, standing.elapsed);
    let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
    progress.events = standing.tally.events;
    progress.behind = behind;
    progress.follows |= behind < FOLLOWS;
}

/// Event times of what is due are given out before they are used.
fn reserve(position: &mut Position, flow: &Flow, standing: &Standing<'_>) -> anyhow::Result<()> {
    let events = standing.tally.events + standing.due;
    let needed_ms = flow.config_start_ms + flow.config().covered(events).as_millis() as i64;
    if position
        .event_time_until_ms()
        .is_some_and(|until_ms| needed_ms < until_ms)
    {
        return Ok(());
    }
    position.set(needed_ms + RESERVE_MS)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::demo::directory::Directory;

    const NOW_MS: i64 = 1_755_434_096_789;
    const MINUTE_MS: i64 = 60_000;

    /// A flow in a directory where event time has come so far before now.
    fn after(stood_ms: Option<i64>, rate: Rate, dir: &Path) -> Flow {
        let (_directory, mut position) = Directory::open(dir).unwrap();
        if let Some(stood_ms) = stood_ms {
            position.set(NOW_MS + stood_ms).unwrap();
        }
        Flow::new(rate, 20, &position, NOW_MS)
    }

    #[test]
    fn event_time_begins_in_the_past_and_goes_on_where_it_stopped() {
        for (stood_ms, begins_ms) in [
            (None, -5 * MINUTE_MS),
            (Some(-60 * MINUTE_MS), -5 * MINUTE_MS),
            (Some(-2 * MINUTE_MS), -2 * MINUTE_MS),
            (Some(30_000), 30_000),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let flow = after(stood_ms, Rate::PerSecond(50.0), dir.path());
            assert_eq!(flow.config_start_ms - NOW_MS, begins_ms, "{stood_ms:?}");
            // Nothing is owed where event time is ahead of the clock.
            let lead = Duration::from_millis(u64::try_from(-begins_ms).unwrap_or(0));
            assert_eq!(flow.lead(), lead, "{stood_ms:?}");
            flow.config().validate().unwrap();
        }
    }

    #[test]
    fn as_much_as_possible_is_a_day_of_the_same_devices() {
        let dir = tempfile::tempdir().unwrap();
        let flow = after(None, Rate::Max, dir.path());
        assert_eq!(flow.lead(), MAX_LEAD);
        assert_eq!(flow.per_second(), 50.0);
    }

    #[test]
    fn no_two_demos_in_a_directory_make_the_same_events() {
        let dir = tempfile::tempdir().unwrap();
        let seeds: Vec<u64> = (0..3)
            .map(|_| after(None, Rate::Max, dir.path()).seed)
            .collect();
        assert_eq!(seeds, [42, 43, 44]);
    }

    #[test]
    fn event_times_are_given_out_before_they_are_used() {
        let dir = tempfile::tempdir().unwrap();
        let (_directory, mut position) = Directory::open(dir.path()).unwrap();
        let flow = Flow::new(Rate::PerSecond(50.0), 20, &position, NOW_MS);
        let tally = floodmark_generator::Tally::default();
        let mut standing = Standing {
            tally: &tally,
            elapsed: Duration::ZERO,
            event_time_ms: flow.config_start_ms,
            due: 100,
        };
        reserve(&mut position, &flow, &standing).unwrap();
        let until_ms = flow.config_start_ms + 2_000 + RESERVE_MS;
        assert_eq!(position.event_time_until_ms(), Some(until_ms));
        standing.due = 149;
        reserve(&mut position, &flow, &standing).unwrap();
        assert_eq!(position.event_time_until_ms(), Some(until_ms));
    }
}
