//! `/metrics`: what is counted and measured, for Prometheus.
//!
//! [`names`] says which metrics there are, in one table; [`series`] says where each one's values come
//! from. Both are matched over the same enum, so none can be promised and forgotten. Values are read
//! when they are asked for: between two scrapes nothing happens.
//!
//! No label tells devices apart, or anything else that grows with the data.

mod names;
#[cfg(test)]
mod reference;
mod series;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use names::Kind;
pub(super) use names::Metric;
use series::{Snapshot, Value};

use super::observer::Observer;

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus's own text format 0.0.4.
    Prometheus,
}

impl Format {
    /// What a client takes, by its `Accept`: `OpenMetrics` if it names that, else the format that
    /// everything reads.
    pub(super) fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Its content type.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All metrics as text.
pub(super) fn text(observer: &Arc<Observer>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(All(Snapshot::of(observer))));
    let mut text = String::new();
    match format {
        Format::OpenMetrics => prometheus_client::encoding::text::encode(&mut text, &registry)?,
        Format::Prometheus => {
            prometheus_client::encoding::prometheus_text::encode(&mut text, &registry)?;
        }
    }
    Ok(text)
}

/// Writes every metric that has a value.
#[derive(Debug)]
struct All(Snapshot);

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for metric in Metric::ALL {
            let series = self.0.series(*metric);
            if series.is_empty() {
                continue;
            }
            let about = metric.about();
            let unit = about.unit.map(|unit| Unit::Other(unit.to_owned()));
            let kind = match about.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
                Kind::Info => MetricType::Info,
            };
            let help = about.help;
            let mut encoder = encoder.encode_descriptor(about.stem, help, unit.as_ref(), kind)?;
            for (labels, value) in series {
                let names = labels.iter().map(|(name, _)| name);
                debug_assert!(names.eq(about.labels), "{metric:?} has other labels");
                if about.kind == Kind::Info {
                    encoder.encode_info(&labels)?;
                } else if labels.is_empty() {
                    write(about.kind, &mut encoder, &value)?;
                } else {
                    write(about.kind, &mut encoder.encode_family(&labels)?, &value)?;
                }
            }
        }
        Ok(())
    }
}

fn write(kind: Kind, encoder: &mut MetricEncoder<'_>, value: &Value) -> Result<(), fmt::Error> {
    match (kind, value) {
        (Kind::Counter, Value::Count(count)) => {
            encoder.encode_counter::<NoLabelSet, u64, f64>(count, None)
        }
        (Kind::Counter, Value::Number(number)) => {
            encoder.encode_counter::<NoLabelSet, f64, f64>(number, None)
        }
        (_, Value::Count(count)) => encoder.encode_gauge(count),
        (_, Value::Number(number)) => encoder.encode_gauge(number),
        (_, Value::Distribution(distribution)) => {
            let buckets: Vec<(f64, u64)> = distribution.buckets().collect();
            let (sum, count) = (distribution.sum_seconds(), distribution.count());
            encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        }
    }
}
