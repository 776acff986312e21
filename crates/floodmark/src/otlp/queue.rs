//! Spans that wait to be delivered.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::trace::Status;
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use crate::http::Secrets;

/// Spans that wait at most; a checkpoint has about a dozen.
const CAPACITY: usize = 4096;

/// Spans in one request at most.
const BATCH: usize = 512;

/// Spans wait at most this long for others that go with them.
const SEND_EVERY: Duration = Duration::from_secs(2);

/// Lost spans are spoken of at most this often.
const REPORT_EVERY: Duration = Duration::from_mins(1);

/// Spans between the threads that make them and the one that delivers them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// All spans that were lost, for others to read.
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<SpanData>,
    /// Spans that are being delivered.
    leaving: usize,
    /// Spans that were lost and not spoken of yet.
    lost: usize,
    /// Why the last of them did not arrive; none if it never left.
    why: Option<anyhow::Error>,
    /// No more come.
    ending: bool,
    /// All have left.
    ended: bool,
}

impl State {
    /// Spans to speak of, and why; from now on they are spoken of.
    fn told(&mut self) -> (usize, Option<String>) {
        let why = self.why.take().map(|why| format!("{why:#}"));
        (std::mem::take(&mut self.lost), why)
    }
}

/// Spans of one delivery that did not arrive.
#[derive(Debug)]
pub(super) struct Loss {
    /// So many of them.
    pub(super) spans: usize,
    pub(super) why: anyhow::Error,
}

/// The end of the queue that spans enter by.
#[derive(Debug)]
pub(super) struct Intake(pub(super) Arc<Queue>);

impl SpanProcessor for Intake {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.push(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.end(timeout);
        Ok(())
    }
}

impl Queue {
    /// A queue that counts here what it loses.
    pub(super) fn new(lost: Arc<AtomicU64>) -> Self {
        Self {
            lost,
            ..Self::default()
        }
    }

    /// Takes a span, or counts it as lost if there is no room.
    fn push(&self, span: SpanData) {
        let mut state = self.lock();
        if state.ending || state.waiting.len() >= CAPACITY {
            self.lose(&mut state, 1);
            return;
        }
        state.waiting.push(span);
        if state.waiting.len() == BATCH {
            self.changed.notify_all();
        }
    }

    /// Delivers spans with `send` until the end.
    pub(super) fn deliver(&self, mut send: impl FnMut(Vec<SpanData>) -> Result<(), Loss>) {
        let mut reported: Option<Instant> = None;
        while let Some(spans) = self.next() {
            let outcome = if spans.is_empty() {
                Ok(())
            } else {
                send(spans)
            };
            let mut state = self.lock();
            state.leaving = 0;
            if let Err(loss) = outcome {
                self.lose(&mut state, loss.spans);
                state.why = Some(loss.why);
            }
            let due = reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY);
            if state.lost > 0 && due {
                let told = state.told();
                drop(state);
                reported = Some(Instant::now());
                say(told);
            }
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// The spans to deliver next, maybe none; `None` at the end.
    fn next(&self) -> Option<Vec<SpanData>> {
        let few = |state: &mut State| state.waiting.len() < BATCH && !state.ending;
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), SEND_EVERY, few);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.ending && state.waiting.is_empty() {
            return None;
        }
        let count = state.waiting.len().min(BATCH);
        state.leaving = count;
        Some(state.waiting.drain(..count).collect())
    }

    /// Takes no more spans and waits until those that are there have left, for so long at most.
    pub(super) fn end(&self, timeout: Duration) {
        let mut state = self.lock();
        state.ending = true;
        self.changed.notify_all();
        let waited = self
            .changed
            .wait_timeout_while(state, timeout, |state| !state.ended);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (told, left) = (state.told(), state.waiting.len() + state.leaving);
        self.lost.fetch_add(left as u64, Ordering::Relaxed);
        drop(state);
        say(told);
        if left > 0 {
            tracing::warn!(
                spans = left,
                "traces lost: not delivered by the end of the run"
            );
        }
    }

    /// So many spans do not arrive.
    fn lose(&self, state: &mut State, spans: usize) {
        state.lost += spans;
        self.lost.fetch_add(spans as u64, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Speaks of spans that were lost, if any were.
fn say((lost, why): (usize, Option<String>)) {
    match why {
        _ if lost == 0 => {}
        None => tracing::warn!(spans = lost, "traces lost: they came too fast"),
        why => tracing::warn!(spans = lost, error = why, "traces lost"),
    }
}

/// Cuts secrets out of what a span says: a client's error message might quote one.
pub(super) fn cut_out(secrets: &Secrets, span: &mut SpanData) {
    let events = span.events.events.iter_mut();
    let attributes = events.flat_map(|event| &mut event.attributes);
    for KeyValue { value, .. } in attributes.chain(&mut span.attributes) {
        if let Value::String(text) = value {
            *value = secrets.cut_out(text.as_str()).into();
        }
    }
    if let Status::Error { description } = &mut span.status {
        *description = Cow::Owned(secrets.cut_out(description));
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    fn provider(queue: &Arc<Queue>) -> SdkTracerProvider {
        SdkTracerProvider::builder()
            .with_span_processor(Intake(Arc::clone(queue)))
            .build()
    }

    /// Ends so many spans into the queue.
    fn fill(queue: &Arc<Queue>, spans: usize) {
        let provider = provider(queue);
        let tracer = provider.tracer("test");
        for _ in 0..spans {
            tracer.start("span").end();
        }
        // Dropped, it would end the queue.
        std::mem::forget(provider);
    }

    fn ending() -> Arc<Queue> {
        Arc::new(Queue {
            state: Mutex::new(State {
                ending: true,
                ..State::default()
            }),
            ..Queue::default()
        })
    }

    #[test]
    fn secrets_are_cut_out_of_attributes_events_and_status() {
        let text = include_str!("../../../../pipelines/sensors.toml");
        let (pipeline, _) = floodmark_pipeline::parse(text, &|_| None).expect("a valid file");
        let secrets = Secrets::of(&pipeline, |name| {
            (name == "AWS_SECRET_ACCESS_KEY").then(|| "hunter2".to_owned())
        });
        let queue = Arc::new(Queue::default());
        let provider = provider(&queue);
        let mut span = provider.tracer("test").start("span");
        let quotes = KeyValue::new("error", "hunter2 was refused");
        span.set_attribute(quotes.clone());
        span.add_event("warning", vec![quotes]);
        span.set_status(Status::error("hunter2 was refused"));
        span.end();
        let mut sent = queue.lock().waiting.remove(0);
        cut_out(&secrets, &mut sent);
        let shown = format!("{sent:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(shown.matches("[secret] was refused").count(), 3, "{shown}");
    }

    #[test]
    fn a_full_queue_takes_no_more_and_counts() {
        let queue = Arc::new(Queue::default());
        fill(&queue, CAPACITY + 5);
        let state = queue.lock();
        assert_eq!((state.waiting.len(), state.lost), (CAPACITY, 5));
        assert_eq!(queue.lost.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn everything_that_waits_leaves_at_the_end_in_batches() {
        let queue = Arc::new(Queue::default());
        fill(&queue, BATCH + 1);
        queue.end(Duration::ZERO);
        let mut sent = Vec::new();
        queue.deliver(|spans| {
            sent.push(spans.len());
            Ok(())
        });
        assert_eq!(sent, [BATCH, 1]);
        assert!(queue.lock().ended);
    }

    #[test]
    fn what_comes_after_the_end_is_lost_and_counted() {
        let queue = ending();
        fill(&queue, 2);
        assert_eq!(queue.lock().lost, 2);
    }

    #[test]
    fn what_has_not_left_by_the_end_is_lost_and_counted() {
        let queue = Arc::new(Queue::default());
        fill(&queue, 3);
        queue.end(Duration::ZERO);
        assert_eq!(queue.lost.load(Ordering::Relaxed), 3);
    }

    /// What a collector's refusal is.
    fn refuse(spans: &[SpanData]) -> Result<(), Loss> {
        Err(Loss {
            spans: spans.len(),
            why: anyhow!("refused"),
        })
    }

    #[test]
    fn why_spans_were_lost_is_known_when_others_have_arrived_since() {
        let queue = Arc::new(Queue::default());
        fill(&queue, 3 * BATCH);
        queue.lock().ending = true;
        let mut outcomes = [true, true, false].into_iter();
        queue.deliver(|spans| match outcomes.next() {
            Some(true) => refuse(&spans),
            _ => Ok(()),
        });
        let told = queue.lock().told();
        assert_eq!(told, (BATCH, Some("refused".to_owned())));
    }

    #[test]
    fn losses_after_the_first_are_kept_for_the_next_report() {
        let queue = Arc::new(Queue::default());
        fill(&queue, 2 * BATCH);
        queue.lock().ending = true;
        queue.deliver(|spans| refuse(&spans));
        assert_eq!(queue.lock().lost, BATCH, "the first batch was reported");
        assert_eq!(queue.lost.load(Ordering::Relaxed), 2 * BATCH as u64);
    }
}
