//! `/api/events`: the status each second and samples as they come, as server-sent events.
//!
//! A client has a place in the stream of samples: the number of the last one it was sent. It is asked
//! for the next events when its connection has room for them, so one that reads slowly finds samples
//! gone from the ring, and nobody waits for it. After a break the browser says which number it had.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::observer::Observer;
use super::samples::ApiSample;

/// Clients at once.
pub(super) const MAX_CLIENTS: usize = 32;

/// Time between two statuses.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Time between two looks for samples.
const SAMPLES_EVERY: Duration = Duration::from_millis(100);

/// After this long a client that has lost its connection comes again.
const RETRY: Duration = Duration::from_secs(1);

/// What a client that has lost its connection says it had.
const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Clone)]
struct Clients {
    observer: Arc<Observer>,
    places: Arc<Semaphore>,
}

pub(super) fn router(observer: Arc<Observer>) -> Router {
    Router::new()
        .route("/api/events", get(events))
        .with_state(Clients {
            observer,
            places: Arc::new(Semaphore::new(MAX_CLIENTS)),
        })
}

async fn events(State(clients): State<Clients>, headers: HeaderMap) -> Response {
    let Ok(place) = clients.places.try_acquire_owned() else {
        let retry = [(RETRY_AFTER, HeaderValue::from_static("5"))];
        let text = format!("{MAX_CLIENTS} clients listen already; close one, or use /api/status\n");
        return (StatusCode::SERVICE_UNAVAILABLE, retry, text).into_response();
    };
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let last: Option<u64> = last.and_then(|id| id.trim().parse().ok());
    let newest = clients.observer.telemetry().samples().newest_seq();
    let client = Client {
        observer: clients.observer,
        seen: last.unwrap_or(newest).min(newest),
        status_due: Instant::now(),
        ready: VecDeque::from([Event::default().retry(RETRY)]),
        _place: place,
    };
    Sse::new(client.stream()).into_response()
}

/// One client's place.
struct Client {
    observer: Arc<Observer>,
    /// Number of the last sample it was sent.
    seen: u64,
    status_due: Instant,
    /// Made, and not sent yet.
    ready: VecDeque<Event>,
    _place: OwnedSemaphorePermit,
}

impl Client {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures::stream::unfold(self, |mut client| async move {
            let event = client.next().await;
            Some((Ok(event), client))
        })
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            if Instant::now() >= self.status_due {
                self.status_due = Instant::now() + STATUS_EVERY;
                let status = self.observer.status_json();
                return Event::default().event("status").data(&*status);
            }
            self.look();
            if self.ready.is_empty() {
                let wake = self.status_due.min(Instant::now() + SAMPLES_EVERY);
                tokio::time::sleep_until(wake).await;
            }
        }
    }

    /// Takes what has come since the last look.
    fn look(&mut self) {
        for sample in self.observer.telemetry().samples().since(self.seen) {
            self.seen = sample.seq;
            let sent = ApiSample::new(&sample, self.observer.secrets());
            if let Ok(json) = serde_json::to_string(&sent) {
                let event = Event::default().event("sample").data(json);
                self.ready.push_back(event.id(sample.seq.to_string()));
            }
        }
    }
}
