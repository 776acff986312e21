//! `floodmark generate`: device telemetry into a Kafka topic, a file or standard output.
//!
//! A run is planned from the flags (`plan`), then a loop (`flow`) generates batches when they are due
//! (`pace`), hands them to the target (`target`, `kafka`) and shows how far it is (`progress`). What it generated,
//! counted as it was generated, is the `report`: the right answer for whoever checks what became of it.

pub(super) mod flow;
pub(super) mod kafka;
pub(super) mod pace;
pub(super) mod plan;
mod produce_batch;
mod progress;
mod report;
pub(super) mod target;
pub(super) mod values;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use floodmark_generator::{Simulator, Tally};
use floodmark_pipeline::{Environment, KafkaCluster, Secret};

use self::flow::{Next, flow};
use self::plan::{Ending, Plan};
use self::progress::Progress;
use self::report::Report;
use self::target::Target;
use self::values::{Output, Rate};
use super::exit::Failure;
use super::load;
use crate::os::StopFlag;

const EXAMPLES: &str = "\
Examples:
  Fifty events a second, until Ctrl-C:
    floodmark generate --brokers localhost:9092 --topic sensor_events --rate 50

  A million events with every trouble there is, as fast as possible; the report holds the right answer:
    floodmark generate --brokers localhost:9092 --topic sensor_events --rate max --count 1000000 \\
        --late 0.01 --bad 0.001 --anomalies 0.01 --disorder 5s --report truth.json

  On a cluster with TLS and passwords (a build with the feature ssl):
    floodmark generate --brokers kafka.example.com:9093 --topic sensor_events --rate 50 \\
        --kafka security.protocol=SASL_SSL --kafka ssl.ca.location=/etc/kafka/ca.pem \\
        --kafka sasl.mechanism=SCRAM-SHA-512 --kafka sasl.username=floodmark \\
        --kafka 'sasl.password=${KAFKA_PASSWORD}'

  The same bytes every time, to look at or to keep:
    floodmark generate --out - --rate max --count 10 --start 2025-08-17T00:00:00Z

  A day of 200 devices that report every ten seconds, into a file:
    floodmark generate --out day.jsonl --rate max --devices 200 --interval 10s --count 1728000";

/// Generate device telemetry: readings with daily drift, noise and faults that build up
///
/// Events are keyed by device. The same seed, start and flags give the same bytes. Ctrl-C ends a run
/// properly: what was generated is delivered, counted and reported.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["topic", "out"]))]
pub(crate) struct Args {
    /// Kafka bootstrap servers, separated by commas
    #[arg(long, value_name = "HOST:PORT", requires = "topic")]
    brokers: Option<String>,

    /// Kafka topic to write to; it must exist
    #[arg(long, requires = "brokers")]
    topic: Option<String>,

    /// Kafka client property, by librdkafka's name; may be repeated
    ///
    /// `${VAR}` in a value stands for an environment variable, as in a pipeline file. A password that is
    /// given so, in single quotes, is in nobody's list of processes.
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::unseen(), requires = "brokers")]
    kafka: Vec<Secret>,

    /// File to write JSON lines to, or - for standard output
    #[arg(long, value_name = "FILE", value_parser = values::output)]
    out: Option<Output>,

    /// Events per second of all devices together, or max for as fast as possible
    #[arg(long, default_value = "1000", value_name = "N|max", value_parser = values::rate)]
    rate: Rate,

    /// Stop after so many events
    #[arg(long, value_name = "N", value_parser = values::count)]
    count: Option<u64>,

    /// Stop after this time, as 90s or 10 minutes
    #[arg(long = "for", value_name = "DURATION", value_parser = values::duration)]
    run_for: Option<Duration>,

    /// Number of devices
    #[arg(long, default_value = "1000", value_name = "N", value_parser = values::devices)]
    devices: u32,

    /// Seed of everything random
    #[arg(long, default_value = "42")]
    seed: u64,

    /// Event time of the first event, as 2025-08-17T12:00:00Z or 2025-08-17
    ///
    /// By default now; where event time runs faster than the clock, so far back that it arrives at now
    /// when the run ends (a day back if the run has no end).
    #[arg(long, value_name = "TIME", value_parser = values::instant)]
    start: Option<jiff::Timestamp>,

    /// How many times faster than the clock event time passes; not with --rate max
    #[arg(long, value_name = "X", value_parser = values::speed)]
    speed: Option<f64>,

    /// How often each device reports, in event time; only with --rate max [default: 1s]
    ///
    /// Ten million events of 1,000 devices cover 10,000 seconds at the default interval, those of
    /// 200,000 devices 50 seconds. At a rate of N per second it follows from the rate.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    interval: Option<Duration>,

    /// Share of readings above a limit (85 °C, 0.5 g)
    #[arg(long, default_value = "0.01", value_name = "SHARE", value_parser = values::share)]
    anomalies: f64,

    /// Share of events 2 to 10 minutes, and the disorder, behind; none among the first 100
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = values::share)]
    late: f64,

    /// Share of records that no decoder may accept
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = values::share)]
    bad: f64,

    /// Spread event times up to this far behind their order
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = values::duration)]
    disorder: Duration,

    /// Write the true numbers to this file, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl Args {
    /// The cluster that the flags name, if they do.
    fn cluster(&self, environment: Environment<'_>) -> Result<Option<KafkaCluster>, String> {
        let Some(brokers) = &self.brokers else {
            return Ok(None);
        };
        let pairs = self.kafka.iter();
        let properties = pairs.map(|pair| values::property(pair.expose(), environment));
        Ok(Some(KafkaCluster {
            brokers: brokers.clone(),
            properties: properties.collect::<Result<_, _>>()?,
        }))
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let plan = Plan::new(args, jiff::Timestamp::now()).map_err(Failure::Usage)?;
    let cluster = args.cluster(&load::variable).map_err(Failure::Usage)?;
    let stop = StopFlag::install();
    let mut target = Target::open(args, cluster.as_ref(), &plan)?;
    // Event time begins when events do: connecting has taken a while.
    let plan = Plan::new(args, jiff::Timestamp::now()).map_err(Failure::Usage)?;
    let started = Instant::now();
    let (tally, ending) = drive(&plan, &mut target, &stop, started)?;
    if ending == Ending::ReaderGone {
        // As with `| head`: what was read is known to the reader alone.
        return match &args.report {
            None => Ok(()),
            Some(_) => Err(anyhow::anyhow!("the reader went away, so there is no report").into()),
        };
    }
    let report = Report::new(args, &plan, tally, ending, started.elapsed());
    if let Some(path) = &args.report {
        report.write(path)?;
    }
    let summary = if target.is_stdout() {
        write!(std::io::stderr(), "{report}")
    } else {
        write!(std::io::stdout(), "{report}")
    };
    // Everything is delivered; that nobody reads the summary changes nothing.
    summary.or(Ok(()))
}

/// Generates until the end of the plan or a signal, and sees everything delivered.
fn drive(
    plan: &Plan,
    target: &mut Target,
    stop: &StopFlag,
    started: Instant,
) -> anyhow::Result<(Tally, Ending)> {
    let mut simulator = Simulator::new(&plan.config)?;
    let mut progress = Progress::new(plan, started);
    let outcome = flow(&mut simulator, plan.pace, target, started, |standing| {
        progress.show(standing.tally, standing.event_time_ms);
        let sent = standing.tally.events;
        Ok(match plan.ending(sent, standing.elapsed, stop) {
            Some(ending) => Next::End(ending),
            None => Next::AtMost(plan.left(sent)),
        })
    });
    progress.finish();
    outcome
}
