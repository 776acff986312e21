//! Traces over OTLP/HTTP, to Jaeger, Tempo or an OpenTelemetry collector.
//!
//! ```text
//!   engine: spans ─> Traces::layer ─> Queue, bounded ─> thread `otlp`: secrets cut out ─> collector
//!                                       └─ full: counted, said once a minute, a metric
//! ```
//!
//! What is sent is said in [`floodmark_engine::telemetry`]; here it is carried away. The engine's
//! threads put a span that is over into the queue and never wait. A collector that is away, slow or
//! refuses costs spans, nothing else; what it costs is counted and logged.

mod client;
mod queue;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, anyhow};
use floodmark_engine::telemetry::SPAN_TARGET;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{KeyValue, Value};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanExporter as _};
use reqwest::Url;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

use crate::http::Secrets;
use client::{Client, Note, Trouble};
use queue::{Intake, Loss, Queue};

/// Where traces are received below a collector's address.
const TRACES_PATH: &str = "v1/traces";

/// Longest wait for a collector's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of a run waits for the last spans to be delivered.
const LAST_DELIVERY_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a collector receives traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint(Url);

/// How the flag is written: a collector's address, or the full URL of its traces.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, String> {
    let mut url: Url = text.parse().map_err(|_| expected())?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() {
        return Err(expected());
    }
    if !url.username().is_empty() || url.password().is_some() {
        let hint = "credentials in it are seen by everybody on this machine; \
                    give them in OTEL_EXPORTER_OTLP_HEADERS";
        return Err(hint.to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with(&format!("/{TRACES_PATH}")) {
        url.set_path(&format!("{path}/{TRACES_PATH}"));
    }
    Ok(Endpoint(url))
}

fn expected() -> String {
    "give the collector's address for OTLP/HTTP, such as http://127.0.0.1:4318".to_owned()
}

/// Whose traces they are.
pub(crate) struct Identity<'a> {
    /// The pipeline's name.
    pub(crate) pipeline: &'a str,
    /// The instance's name.
    pub(crate) instance: &'a str,
    /// What must not be sent.
    pub(crate) secrets: Secrets,
    /// Where spans are counted that do not arrive.
    pub(crate) lost: Arc<AtomicU64>,
}

impl Identity<'_> {
    /// What every trace says of its origin; the standard variables have the last word.
    fn resource(&self) -> Resource {
        let ours = [
            KeyValue::new("service.name", "floodmark"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", self.instance.to_owned()),
            KeyValue::new("floodmark.pipeline", self.pipeline.to_owned()),
        ];
        let resource = Resource::builder_empty()
            .with_attributes(ours)
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_detector(Box::new(EnvResourceDetector::new()));
        let name = std::env::var("OTEL_SERVICE_NAME").ok();
        match name.filter(|name| !name.is_empty()) {
            Some(name) => resource.with_service_name(Value::from(name)).build(),
            None => resource.build(),
        }
    }
}

/// A run's traces on their way to a collector.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    queue: Arc<Queue>,
}

impl Traces {
    /// Starts the thread that delivers them. The collector need not be there.
    pub(crate) fn start(endpoint: &Endpoint, identity: Identity<'_>) -> anyhow::Result<Self> {
        let Endpoint(url) = endpoint;
        let (resource, note) = (identity.resource(), Note::default());
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new(url, ANSWER_TIMEOUT, note.clone())?)
            .with_endpoint(url.as_str())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(ANSWER_TIMEOUT)
            .build()
            .context("preparing traces")?;
        exporter.set_resource(&resource);
        let io = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the runtime of traces")?;
        let queue = Arc::new(Queue::new(identity.lost));
        let (delivered, secrets) = (Arc::clone(&queue), identity.secrets);
        let to = url.clone();
        let deliver = move || {
            delivered.deliver(|mut spans| {
                for span in &mut spans {
                    queue::cut_out(&secrets, span);
                }
                let count = spans.len();
                let sent = io.block_on(exporter.export(spans));
                let loss = |spans, why| Loss {
                    spans,
                    why: anyhow!("{to}: {why}"),
                };
                match (sent, note.take()) {
                    // It cannot refuse more than it was sent, whatever it says.
                    (_, Some(Trouble::Refused { spans, why })) => Err(loss(spans.min(count), why)),
                    (Err(_), Some(Trouble::Unanswered(why))) => Err(loss(count, why)),
                    (Err(error), None) => Err(loss(count, error.to_string())),
                    (Ok(()), _) => Ok(()),
                }
            });
        };
        std::thread::Builder::new()
            .name("otlp".to_owned())
            .spawn(deliver)
            .context("starting the thread of traces")?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(Intake(Arc::clone(&queue)))
            .build();
        Ok(Self { provider, queue })
    }

    /// Takes the engine's spans, and warnings and errors within them.
    pub(crate) fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let wanted = |metadata: &Metadata<'_>| {
            let ours = metadata.target() == SPAN_TARGET;
            ours || metadata.is_event() && *metadata.level() <= Level::WARN
        };
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("floodmark"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(filter_fn(wanted).with_max_level_hint(LevelFilter::INFO))
            .boxed()
    }

    /// Delivers what is left, within limits.
    pub(crate) fn finish(self) {
        self.queue.end(LAST_DELIVERY_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_completed_and_a_full_url_is_left_alone() {
        let at = |text: &str| endpoint(text).map(|endpoint| endpoint.0.to_string());
        let traces = |url: &str| Ok(url.to_owned());
        let expected = traces("http://127.0.0.1:4318/v1/traces");
        assert_eq!(at("http://127.0.0.1:4318"), expected);
        assert_eq!(at("http://127.0.0.1:4318/"), expected);
        assert_eq!(at("http://127.0.0.1:4318/v1/traces"), expected);
        assert_eq!(at("https://o/x"), traces("https://o/x/v1/traces"));
        for wrong in ["", "127.0.0.1:4318", "grpc://o", "http://", "http://o?a=b"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
        let refused = at("http://me:hunter2@o").unwrap_err();
        assert!(refused.contains("OTEL_EXPORTER_OTLP_HEADERS"), "{refused}");
    }
}
