//! `floodmark run`: runs a pipeline until it is stopped or has caught up.

mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use floodmark_engine::connect::new_instance;
use floodmark_engine::runtime::RunOptions;
use floodmark_engine::telemetry::Telemetry;

use super::engine::{Engine, TICK, ledger, live};
use super::exit::Failure;
use super::http::{self, Http};
use super::load::{self, Planned};
use super::log;
use crate::http::Secrets;
use crate::os::{StopFlag, usage};
use crate::otlp::{self, Endpoint, Identity, Traces};

/// Run a pipeline
///
/// Reads the sources, evaluates the queries, writes the outputs, each result exactly once. Goes on
/// where the newest checkpoint says. The first Ctrl-C (or SIGTERM) stops reading, finishes what was
/// read, takes a last checkpoint and exits 0; a second one ends at once, and nothing is lost either.
///
/// Progress and logs go to standard error, the final ledger to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 failed at run time, 2 usage, 3 fenced by another instance,
78 invalid configuration.

Examples:
  floodmark run pipelines/sensors.toml
  floodmark run pipelines/sensors.toml --http 127.0.0.1:8787
  floodmark run pipelines/sensors.toml --until-caught-up --report report.json
  KAFKA_BROKERS=broker:9092 floodmark run pipelines/sensors.toml --log-format json")]
pub(crate) struct Args {
    /// Pipeline file
    file: PathBuf,

    /// End when everything that stood in the sources at the start is read, committed and
    /// checkpointed; open windows stay in the checkpoint
    #[arg(long)]
    until_caught_up: bool,

    /// Fire all open windows at the end; rows of these windows that come later are late
    #[arg(long)]
    close_windows: bool,

    /// Serve dashboard, /metrics, /healthz and /readyz at this address, or off. A port alone is one
    /// of 127.0.0.1. Whoever reaches the address sees rows of the pipeline
    #[arg(long, value_name = "HOST:PORT|off", default_value = "off", value_parser = http::flag)]
    http: Http,

    /// A further name by which browsers and scrapers may call that address (any number of times). By
    /// default it is this machine's own names on 127.0.0.1, and any name on an address beyond it
    #[arg(long, value_name = "NAME", value_parser = http::host)]
    http_host: Vec<String>,

    /// Send traces of the start, checkpoints and windows to an OpenTelemetry collector, which takes
    /// OTLP over HTTP at port 4318 as a rule. Needs a build with the feature otlp
    #[arg(long, value_name = "http://HOST:PORT", value_parser = otlp::endpoint)]
    otlp: Option<Endpoint>,

    /// Write a report (JSON) at the end
    #[arg(long, value_name = "OUT.json")]
    report: Option<PathBuf>,

    #[command(flatten)]
    log: log::LogArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let screen = live::Screen::new(&args.log);
    let telemetry = args.http.telemetry();
    let stop_flag = StopFlag::install();
    let started = Instant::now();
    let planned = load::load_and_plan(&args.file, &load::variable)?;
    let name = planned.pipeline.name.clone();
    let instance = new_instance();
    let traces = start_traces(args.otlp.as_ref(), &planned, &instance, &telemetry)?;
    log::init(
        &args.log,
        screen.log_writer(),
        Some(telemetry.samples()),
        traces.as_ref(),
    );
    let options = RunOptions {
        until_caught_up: args.until_caught_up,
        close_windows: args.close_windows,
    };
    let listener = args.http.listen(&args.http_host)?;
    let mut live = screen.start(&name);
    if let Some(listener) = &listener {
        live.print(&http::says_where(listener.address()));
    }
    let engine = Engine::start(planned, instance, options, telemetry, listener)?;
    while !engine.is_finished() {
        if stop_flag.is_set() && !engine.is_stopped() {
            engine.stop();
            live.note(live::DRAINING);
        }
        live.show(&engine.status());
        std::thread::sleep(TICK);
    }
    let (outcome, status) = engine.join();
    live.show(&status);
    live.finish();
    if let Some(traces) = traces {
        traces.finish();
    }
    let summary = report::Report::new(&name, &status, started.elapsed(), usage());
    if let Some(path) = &args.report {
        summary.write(path)?;
    }
    outcome?;
    ledger::print(&name, &status);
    Ok(())
}

fn start_traces(
    to: Option<&Endpoint>,
    planned: &Planned,
    instance: &str,
    telemetry: &Telemetry,
) -> anyhow::Result<Option<Traces>> {
    let start = |endpoint| {
        let identity = Identity {
            pipeline: &planned.pipeline.name,
            instance,
            secrets: Secrets::of(&planned.pipeline, load::variable),
            lost: Arc::clone(telemetry.lost_spans()),
        };
        Traces::start(endpoint, identity)
    };
    to.map(start).transpose()
}
