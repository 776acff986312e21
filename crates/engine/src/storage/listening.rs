//! Listens to an object store's server: requests that it refused for now, or did not answer, are made again
//! by the client until its limit. They are counted, and a server that stays so is told of in the log.
//!
//! When an answer is too late depends on what has to pass the line first. A limit that is right for a
//! manifest lets no part of a large file through a slow line, ever, however often it is sent; so a request
//! has more time the more it carries, and an answer's body has as long as it keeps coming.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService, ReqwestConnector,
};
use tokio::time::Sleep;

use crate::telemetry::Retries;

/// HTTP statuses below 500 after which a request is made again: the server wants less, or was not sent
/// the request in time.
const TRY_AGAIN: [u16; 2] = [408, 429];

/// A server that has done nothing of what it was asked for so long is told of.
const TOLD_AFTER: Duration = Duration::from_secs(3);

/// A line that takes less of a request's body is taken for broken.
const SLOWEST_BYTES_PER_SECOND: u64 = 16 << 10;

/// Connects like the client's own connector, and listens.
#[derive(Debug)]
pub(super) struct Listening {
    place: String,
    patience: Duration,
    retries: Retries,
}

impl Listening {
    /// `place` is what people call the server, `patience` how long it may be silent.
    pub(super) fn new(place: String, patience: Duration, retries: &Retries) -> Self {
        Self {
            place,
            patience,
            retries: retries.clone(),
        }
    }
}

/// The time for a request whose body has so many bytes, up to the answer's head.
fn limit(patience: Duration, bytes: u64) -> Duration {
    patience + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND)
}

/// Nothing came for too long.
#[derive(Debug, thiserror::Error)]
#[error("operation timed out")]
struct TimedOut;

impl TimedOut {
    fn error() -> HttpError {
        HttpError::new(HttpErrorKind::Timeout, Self)
    }
}

/// An answer's body, each piece of which has the whole patience.
struct Patient {
    inner: HttpResponseBody,
    patience: Duration,
    silence: Pin<Box<Sleep>>,
}

impl Patient {
    fn new(inner: HttpResponseBody, patience: Duration) -> Self {
        Self {
            inner,
            patience,
            silence: Box::pin(tokio::time::sleep(patience)),
        }
    }
}

impl Body for Patient {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            let until = tokio::time::Instant::now() + self.patience;
            self.silence.as_mut().reset(until);
            return Poll::Ready(frame);
        }
        ready!(self.silence.as_mut().poll(context));
        Poll::Ready(Some(Err(TimedOut::error())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl HttpConnector for Listening {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Listened {
            inner,
            patience: self.patience,
            retries: self.retries.clone(),
            silence: Silence::new(self.place.clone()),
        }))
    }
}

#[derive(Debug)]
struct Listened {
    inner: HttpClient,
    patience: Duration,
    retries: Retries,
    silence: Silence,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Listened {
    fn call<'this, 'answer>(&'this self, request: HttpRequest) -> Answer<'answer>
    where
        'this: 'answer,
        Self: 'answer,
    {
        Box::pin(async move {
            let limit = limit(self.patience, request.body().content_length() as u64);
            let answer = tokio::time::timeout(limit, self.inner.execute(request)).await;
            let answer = answer.unwrap_or_else(|_| Err(TimedOut::error()));
            let refusal = match &answer {
                Ok(answer) => {
                    let status = answer.status();
                    let again = status.is_server_error() || TRY_AGAIN.contains(&status.as_u16());
                    again.then(|| status.to_string())
                }
                Err(error) => Some(innermost(error)),
            };
            if refusal.is_some() {
                self.retries.count_storage();
            }
            self.silence.note(refusal.as_deref(), Instant::now());
            let patience = self.patience;
            answer.map(|answer| {
                answer.map(|body| HttpResponseBody::new(Patient::new(body, patience)))
            })
        })
    }
}

/// The words of the error that caused the others: those name the request, whose address may be signed.
fn innermost(error: &HttpError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// How long a server has been silent, and whether that was told.
#[derive(Debug)]
struct Silence {
    place: String,
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Answers,
    Silent {
        since: Instant,
    },
    Told,
}

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Silent,
    Back,
}

impl State {
    fn after(self, refused: bool, now: Instant) -> (Self, Option<News>) {
        match (self, refused) {
            (Self::Answers, true) => (Self::Silent { since: now }, None),
            (Self::Silent { since }, true) if now.duration_since(since) >= TOLD_AFTER => {
                (Self::Told, Some(News::Silent))
            }
            (Self::Told, false) => (Self::Answers, Some(News::Back)),
            (_, false) => (Self::Answers, None),
            (same, true) => (same, None),
        }
    }
}

impl Silence {
    fn new(place: String) -> Self {
        let state = Mutex::default();
        Self { place, state }
    }

    fn note(&self, refusal: Option<&str>, now: Instant) {
        let news = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let (next, news) = state.after(refusal.is_some(), now);
            *state = next;
            news
        };
        let store = &self.place;
        match news {
            Some(News::Silent) => {
                let reason = refusal.unwrap_or_default();
                tracing::warn!(store, reason, "store does not answer");
            }
            Some(News::Back) => tracing::info!(store, "store answers again"),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_more_has_more_time() {
        let patience = Duration::from_secs(30);
        assert_eq!(limit(patience, 0), patience);
        // A part of a file, over a line of 1 MB/s that six of them share.
        assert!(limit(patience, 8 << 20) > Duration::from_secs(6 * 8));
    }

    #[tokio::test]
    async fn a_body_may_take_any_time_as_long_as_it_keeps_coming() {
        struct Pieces(Vec<u64>, Pin<Box<Sleep>>);
        impl Body for Pieces {
            type Data = Bytes;
            type Error = HttpError;

            fn poll_frame(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
                ready!(self.1.as_mut().poll(context));
                let Some(pause) = self.0.pop() else {
                    return Poll::Ready(None);
                };
                self.1 = Box::pin(tokio::time::sleep(Duration::from_millis(pause)));
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"piece")))))
            }
        }
        let read = async |pauses: &[u64]| {
            let pieces = Pieces(
                pauses.to_vec(),
                Box::pin(tokio::time::sleep(Duration::ZERO)),
            );
            let body = Patient::new(HttpResponseBody::new(pieces), Duration::from_millis(200));
            HttpResponseBody::new(body).bytes().await
        };
        assert_eq!(read(&[100; 10]).await.expect("it came").len(), 50);
        let late = read(&[100, 60_000, 100]).await.expect_err("it stopped");
        assert_eq!(late.kind(), HttpErrorKind::Timeout);
    }

    #[test]
    fn a_silent_server_is_told_of_once_and_so_is_its_return() {
        let began = Instant::now();
        let mut state = State::default();
        let mut told = Vec::new();
        // (milliseconds, refused): a refusal now and then is none of it.
        let heard = [
            (0, true),
            (100, false),
            (5_000, true),
            (7_900, true),
            (8_000, true),
            (60_000, true),
            (60_100, false),
            (60_200, false),
        ];
        for (at, refused) in heard {
            let (next, news) = state.after(refused, began + Duration::from_millis(at));
            state = next;
            told.extend(news.map(|news| (at, news)));
        }
        assert_eq!(told, [(8_000, News::Silent), (60_100, News::Back)]);
    }
}
