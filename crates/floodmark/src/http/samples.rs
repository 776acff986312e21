//! `/api/samples` and the samples of `/api/events`.

use floodmark_engine::telemetry::{Sample, SampleKind};
use serde::Serialize;
use serde_json::Value;

use super::secrets::Secrets;
use super::time::instant;

/// Samples that are remembered of each kind.
pub(crate) const KEPT: usize = 500;

/// Samples in an answer unless it is asked for another number.
pub(super) const DEFAULT_LIMIT: usize = 50;

/// A sample as it is sent.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ApiSample {
    /// Grows from sample to sample, over restarts too.
    seq: u64,
    /// When it was taken.
    at: Option<String>,
    /// `alert`, `dead_letter`, `late`, `window`, `checkpoint` or `log`.
    kind: &'static str,
    /// Of which output.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    /// How many like it were passed over since the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u64>,
    /// What it shows.
    row: Value,
}

impl ApiSample {
    pub(super) fn new(sample: &Sample, secrets: &Secrets) -> Self {
        let row = match sample.kind {
            // Others have written it.
            SampleKind::Log => cut_out_of(&sample.row, secrets),
            _ => sample.row.clone(),
        };
        Self {
            seq: sample.seq,
            at: instant(sample.at_ms),
            kind: sample.kind.name(),
            output: sample.output.clone(),
            skipped: (sample.skipped > 0).then_some(sample.skipped),
            row,
        }
    }
}

fn cut_out_of(value: &Value, secrets: &Secrets) -> Value {
    match value {
        Value::String(text) => secrets.cut_out(text).into(),
        Value::Object(fields) => {
            let fields = fields.iter();
            let cut = fields.map(|(name, value)| (name.clone(), cut_out_of(value, secrets)));
            Value::Object(cut.collect())
        }
        Value::Array(items) => items.iter().map(|item| cut_out_of(item, secrets)).collect(),
        other => other.clone(),
    }
}

/// What a request for samples asks for: a kind, and how many.
pub(super) fn wanted(query: &str) -> Result<(SampleKind, usize), String> {
    let (mut kind, mut limit) = (None, DEFAULT_LIMIT);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "kind" => {
                let found = SampleKind::ALL
                    .into_iter()
                    .find(|known| known.name() == value);
                kind = Some(found.ok_or_else(kinds)?);
            }
            "limit" => {
                limit = value
                    .parse()
                    .map_err(|_| format!("limit is a number up to {KEPT}"))?;
            }
            _ => return Err("parameters are kind and limit".to_owned()),
        }
    }
    Ok((kind.ok_or_else(kinds)?, limit.min(KEPT)))
}

fn kinds() -> String {
    let names = SampleKind::ALL.map(SampleKind::name).join(", ");
    format!("kind is one of {names}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_a_kind_and_may_say_how_many() {
        assert_eq!(wanted("kind=late"), Ok((SampleKind::Late, DEFAULT_LIMIT)));
        let found = wanted("limit=3&kind=dead_letter");
        assert_eq!(found, Ok((SampleKind::DeadLetter, 3)));
        assert_eq!(wanted("kind=log&limit=99999"), Ok((SampleKind::Log, KEPT)));
        for wrong in [
            "",
            "kind=",
            "kind=x",
            "kind=log&limit=-1",
            "kind=log&other=1",
        ] {
            assert!(wanted(wrong).is_err(), "{wrong}");
        }
    }
}
