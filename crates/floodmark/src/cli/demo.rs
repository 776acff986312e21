//! `floodmark demo`: broker, generator and pipeline in one process.
//!
//! ```text
//! generator ─► broker: sensor_events ─► engine ─┬─► broker: sensor_alerts
//!  (traffic)                                    └─► DIR/curated, DIR/late
//! ```
//!
//! The parts end in the order in which events pass them: the generator delivers what it has generated,
//! the engine reads up to there, drains and checkpoints, the broker stops. Whichever part fails ends the
//! others in the same order. After a `kill -9` at any moment the next demo in the directory goes on:
//! each part keeps what it needs in the directory ([`directory`]).

mod directory;
mod pipeline;
mod traffic;
mod words;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use floodmark_broker::Broker;
use floodmark_engine::connect::new_instance;
use floodmark_engine::runtime::{Phase, RunOptions, Status};
use floodmark_engine::telemetry::Telemetry;

use self::directory::{Directory, Position};
use self::pipeline::DemoPipeline;
use self::traffic::{Ends, Flow, Traffic};
use self::words::Places;
use super::broker::explain;
use super::engine::live::{DRAINING, Live, Screen};
use super::engine::{Engine, TICK, ledger};
use super::exit::Failure;
use super::generate::values::{self, Rate};
use super::http::{self, Http};
use super::{log, topics};
use crate::http::{Listener, url};
use crate::os::StopFlag;

/// How long the engine may take to read what the generator has sent, before it is drained anyway.
const READ_PATIENCE: Duration = Duration::from_secs(10);
/// Properties of the demo's topics: at most 256 MiB each partition, in segments of 32 MiB, however
/// long the demo runs.
const TOPIC_CONFIG: [(&str, &str); 3] = [
    ("retention.bytes", "268435456"),
    ("retention.ms", "-1"),
    ("segment.bytes", "33554432"),
];
/// Spread of event times, on both sides of which a window may be closed.
const DISORDER_MS: i64 = 2_000;

/// Try everything out: a broker, generated events and the reference pipeline in one process
///
/// Needs no server and no file. Event time begins five minutes in the past, so that the first windows
/// close at once, and then follows the clock. Ctrl-C drains, checkpoints and ends; the next start goes on
/// where this one stopped. The broker is for trying, tests and CI, not for production.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 failed at run time, 2 usage, 3 fenced by another instance,
78 the pipeline file was edited and is invalid.

Examples:
  floodmark demo
  floodmark demo --for 90s --data demo-data --listen 127.0.0.1:0
  floodmark demo --rate max --devices 1000")]
pub(crate) struct Args {
    /// Events per second of all devices together, or max for a day's events as fast as possible
    #[arg(long, default_value = "50", value_name = "N|max", value_parser = values::rate)]
    rate: Rate,

    /// Number of devices
    #[arg(long, default_value = "20", value_name = "N", value_parser = values::devices)]
    devices: u32,

    /// End after this time, as 90s or 10 minutes, and close the open windows, so that the directory
    /// holds every event
    #[arg(long = "for", value_name = "DURATION", value_parser = values::duration)]
    run_for: Option<Duration>,

    /// Directory for the pipeline file, the results and the broker's topics
    #[arg(long, default_value = "./floodmark-data", value_name = "DIR")]
    data: PathBuf,

    /// Address of the broker; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    listen: String,

    /// Address of the dashboard, /metrics, /healthz and /readyz, or off; a port alone is one of
    /// 127.0.0.1, and port 0 takes a free one
    #[arg(
        long,
        value_name = "HOST:PORT|off",
        default_value = "127.0.0.1:8787",
        value_parser = http::flag
    )]
    http: Http,

    #[command(flatten)]
    log: log::LogArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let screen = Screen::new(&args.log);
    let telemetry = args.http.telemetry();
    log::init(
        &args.log,
        screen.log_writer(),
        Some(telemetry.samples()),
        None,
    );
    let stop_flag = StopFlag::install();
    let (directory, position) = Directory::open(&args.data)?;
    let seen = Seen {
        listener: args.http.listen(&[])?,
        telemetry,
    };
    let broker = start_broker(args, &directory)?;
    let outcome = run_on(
        args, screen, &stop_flag, &directory, position, &broker, seen,
    );
    let stopped = broker.stop().context("stopping the broker");
    outcome?;
    Ok(stopped?)
}

fn start_broker(args: &Args, directory: &Directory) -> anyhow::Result<Broker> {
    let builder = Broker::builder()
        .listen(&args.listen)
        .data_dir(directory.broker());
    builder.start().map_err(explain)
}

/// How the engine is seen from outside.
struct Seen {
    listener: Option<Listener>,
    telemetry: Telemetry,
}

/// Everything between the broker's start and its end.
fn run_on(
    args: &Args,
    screen: Screen,
    stop_flag: &StopFlag,
    directory: &Directory,
    position: Position,
    broker: &Broker,
    seen: Seen,
) -> Result<(), Failure> {
    let address = broker.address();
    let file = directory.pipeline_file();
    pipeline::write_once(&file, directory.path())?;
    let DemoPipeline {
        planned,
        source,
        topic,
    } = pipeline::load(&file, directory.path(), address)?;
    let address = address.to_string();
    topics::create_missing(&planned.pipeline, &TOPIC_CONFIG, |line| {
        tracing::debug!("{line}");
        Ok(())
    })?;
    let live = screen.start(&planned.pipeline.name);
    let places = Places {
        broker: &address,
        dashboard: seen
            .listener
            .as_ref()
            .map(|listener| url(listener.address())),
        shown: &args.data,
        directory: directory.path(),
        pipeline: &planned.pipeline,
    };
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let flow = Flow::new(args.rate, args.devices, &position, now_ms);
    introduce(&live, &places, &flow);
    let name = planned.pipeline.name.clone();
    let window_ms = pipeline::longest_window_ms(&planned.plan);
    let traffic = Traffic::start(flow, position, &address, &topic)?;
    let options = RunOptions {
        until_caught_up: false,
        close_windows: args.run_for.is_some(),
    };
    let demo = Demo {
        engine: Engine::start(
            planned,
            new_instance(),
            options,
            seen.telemetry,
            seen.listener,
        )?,
        stage: Stage::Flowing(traffic),
        failure: None,
        flow,
        source,
        ends_at: args.run_for.map(|run_for| Instant::now() + run_for),
        closed_window_ms: window_ms.filter(|_| options.close_windows),
    };
    let status = demo.drive(live, stop_flag)?;
    ledger::print(&name, &status);
    Ok(())
}

fn introduce(live: &Live, places: &Places<'_>, flow: &Flow) {
    if live.is_live() {
        live.print(&places.for_terminal());
        return;
    }
    tracing::info!(
        broker = places.broker,
        directory = %places.directory.display(),
        dashboard = places.dashboard,
        "demo: broker, generator and pipeline in one process, for trying, not for production"
    );
    if let Some(beginning) = words::beginning(flow) {
        tracing::info!("{beginning}, catches up and then follows the clock");
    }
    for (shows, command) in places.commands() {
        tracing::info!(command, "{shows}");
    }
}

/// Generator and engine, from the first event to the last checkpoint.
struct Demo {
    engine: Engine,
    stage: Stage,
    /// What went wrong first.
    failure: Option<Failure>,
    flow: Flow,
    /// Name of the source that the generator feeds.
    source: String,
    ends_at: Option<Instant>,
    /// Length of the longest window that is closed at the end, if any is.
    closed_window_ms: Option<i64>,
}

/// What is waited for.
enum Stage {
    /// Events flow until somebody asks for the end.
    Flowing(Traffic),
    /// The generator was asked to end; it delivers what it has.
    Delivering(Traffic),
    /// The engine reads what was delivered, until then at most.
    Reading(Ends, Instant),
    /// The engine was asked to end.
    Draining,
}

impl Demo {
    /// Lets events flow until the end is asked for, the time is over or a part fails; then ends each
    /// part in its turn.
    fn drive(mut self, mut live: Live, stop_flag: &StopFlag) -> Result<Status, Failure> {
        while !self.engine.is_finished() {
            let status = self.engine.status();
            let stage = std::mem::replace(&mut self.stage, Stage::Draining);
            let asked = stop_flag.is_set();
            self.stage = self.step(stage, asked, &status, &mut live);
            live.show(&status);
            std::thread::sleep(TICK);
        }
        let (outcome, status) = self.engine.join();
        live.show(&status);
        live.finish();
        // An engine that ended by itself leaves the generator running.
        if let Stage::Flowing(traffic) | Stage::Delivering(traffic) = self.stage {
            traffic.stop();
            if let Err(error) = traffic.join() {
                tracing::debug!("{error:#}");
            }
        }
        match self.failure {
            Some(failure) => Err(failure),
            None => outcome.map(|()| status),
        }
    }

    fn step(&mut self, stage: Stage, asked: bool, status: &Status, live: &mut Live) -> Stage {
        match stage {
            Stage::Flowing(traffic) => {
                live.aside(words::events(&self.flow, traffic.progress()));
                let over = self.ends_at.is_some_and(|at| Instant::now() >= at);
                if !asked && !over && !traffic.is_finished() {
                    return Stage::Flowing(traffic);
                }
                live.note(DRAINING);
                traffic.stop();
                Stage::Delivering(traffic)
            }
            Stage::Delivering(traffic) if traffic.is_finished() => self.delivered(traffic, live),
            Stage::Reading(ends, until) if has_read(status, &self.source, &ends) => {
                self.engine.stop();
                drop((ends, until));
                Stage::Draining
            }
            Stage::Reading(_, until) if Instant::now() >= until => {
                tracing::warn!(
                    "the pipeline has not read all events; the next start goes on there"
                );
                self.engine.stop();
                Stage::Draining
            }
            stage => stage,
        }
    }

    fn delivered(&mut self, traffic: Traffic, live: &mut Live) -> Stage {
        let progress = traffic.progress();
        let ended = traffic.join().and_then(|(ends, mut position)| {
            self.step_over_closed_windows(&mut position)?;
            Ok(ends)
        });
        match ended {
            Ok(ends) => {
                live.aside(words::ended(progress));
                Stage::Reading(ends, Instant::now() + READ_PATIENCE)
            }
            Err(error) => {
                self.failure = Some(error.into());
                self.engine.stop();
                Stage::Draining
            }
        }
    }

    /// Rows of a window that was closed early would be late: event time goes on behind it.
    fn step_over_closed_windows(&self, position: &mut Position) -> anyhow::Result<()> {
        let (Some(window_ms), Some(until_ms)) =
            (self.closed_window_ms, position.event_time_until_ms())
        else {
            return Ok(());
        };
        let open_ms = until_ms.div_euclid(window_ms) * window_ms + window_ms;
        position.set(open_ms + DISORDER_MS)
    }
}

/// Whether the engine has read up to these ends. One that begins anew shows what its last run had read.
fn has_read(status: &Status, source: &str, ends: &Ends) -> bool {
    let (Phase::Running, Some(source)) = (status.phase, status.sources.get(source)) else {
        return false;
    };
    let next_offset = |id: i32| {
        let mut partitions = source.partitions.iter();
        let found = partitions.find(|(partition, _)| partition.to_string() == id.to_string());
        found.map_or(0, |(_, partition)| partition.next_offset.0)
    };
    ends.iter().all(|(id, end)| next_offset(*id) >= *end)
}
