//! Logs: to standard error, as text or JSON, beside a live status without tearing it.

use std::io::{IsTerminal, Write};

use floodmark_engine::telemetry::{SPAN_TARGET, SampleKind, Samples};
use indicatif::MultiProgress;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::otlp::Traces;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line; no live status.
    Json,
}

/// Flags of commands that log.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// How log lines look
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,

    /// Log more (-v debug, -vv trace); the variable `FLOODMARK_LOG` takes filters such as
    /// `info,floodmark_engine=debug`
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl LogArgs {
    /// How log lines look.
    pub(crate) fn format(&self) -> LogFormat {
        self.log_format
    }
}

/// Writes to standard error, above the live status if there is one.
#[derive(Clone)]
pub(crate) struct LogWriter {
    bars: Option<MultiProgress>,
}

impl LogWriter {
    pub(crate) fn new(bars: Option<MultiProgress>) -> Self {
        Self { bars }
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &self.bars {
            Some(bars) => bars.suspend(|| std::io::stderr().write(bytes)),
            None => std::io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

/// Takes samples of warnings and errors, for whoever looks over HTTP.
struct Sampler(Samples);

impl<S: Subscriber> Layer<S> for Sampler {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > Level::WARN {
            return;
        }
        let now_ms = jiff::Timestamp::now().as_millisecond();
        self.0.take(SampleKind::Log, now_ms, None, || {
            let mut fields = Fields::default();
            event.record(&mut fields);
            serde_json::json!({
                "level": level.as_str(),
                "message": fields.message,
                "fields": fields.others,
            })
        });
    }
}

/// What a log line says.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.others.insert(field.name().to_owned(), text.into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.others.insert(field.name().to_owned(), value.into());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.insert(field.name().to_owned(), value.into());
    }
}

/// Sets logging up for the process. Of warnings and errors samples are taken if that is given, and
/// traces take what is theirs, whatever the log shows.
pub(crate) fn init(
    args: &LogArgs,
    writer: LogWriter,
    samples: Option<&Samples>,
    traces: Option<&Traces>,
) {
    // A second call in one process (tests) keeps the first set-up.
    let _ = subscriber(args, writer, samples, traces).try_init();
}

fn subscriber(
    args: &LogArgs,
    writer: LogWriter,
    samples: Option<&Samples>,
    traces: Option<&Traces>,
) -> impl Subscriber + Send + Sync {
    let taken = samples.map(|samples| Sampler(samples.clone()));
    let level = match args.verbose {
        // The store's client has a line for each of its tries; one line of ours tells of a silent server.
        0 => "info,object_store=warn",
        1 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("FLOODMARK_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // Spans would stand before each line within them.
    let line = |metadata: &Metadata<'_>| metadata.target() != SPAN_TARGET;
    let filter = filter.and(filter_fn(line).with_max_level_hint(LevelFilter::TRACE));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(colour)
        .with_target(false);
    let lines = match args.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().with_ansi(false).boxed(),
    };
    let mut layers = vec![lines.and_then(taken).with_filter(filter).boxed()];
    layers.extend(traces.map(Traces::layer));
    tracing_subscriber::registry().with(layers)
}

#[cfg(test)]
mod tests {
    use floodmark_engine::telemetry::Telemetry;
    use tracing::{info, info_span};

    use super::*;

    #[test]
    fn spans_cost_a_branch_while_nobody_traces() {
        let args = LogArgs {
            log_format: LogFormat::Text,
            verbose: 0,
        };
        let telemetry = Telemetry::new(1);
        let samples = Some(telemetry.samples());
        let subscriber = subscriber(&args, LogWriter::new(None), samples, None);
        tracing::subscriber::with_default(subscriber, || {
            let evaluated = std::cell::Cell::new(false);
            let said = || evaluated.replace(true);
            let span = info_span!(target: SPAN_TARGET, "checkpoint", said = said());
            info!(target: SPAN_TARGET, said = said(), "window fired");
            assert!(span.is_disabled() && !evaluated.get());
            assert!(tracing::enabled!(Level::INFO), "logs are on");
        });
    }
}
