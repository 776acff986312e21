//! Listens to an object store's server: requests that it refused for now, or did not answer, are made again
//! by the client until its limit. They are counted, and a server that stays so is told of in the log.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

use super::RETRY_TIMEOUT;
use crate::telemetry::Retries;

/// HTTP statuses below 500 after which a request is made again: the server wants less, or was not sent
/// the request in time.
const TRY_AGAIN: [u16; 2] = [408, 429];

/// A server that has done nothing of what it was asked for so long is told of.
const TOLD_AFTER: Duration = Duration::from_secs(3);

/// Connects like the client's own connector, and listens.
#[derive(Debug)]
pub(super) struct Listening {
    place: String,
    retries: Retries,
}

impl Listening {
    /// `place` is what people call the server.
    pub(super) fn new(place: String, retries: &Retries) -> Self {
        let retries = retries.clone();
        Self { place, retries }
    }
}

impl HttpConnector for Listening {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Listened {
            inner,
            retries: self.retries.clone(),
            silence: Silence::new(self.place.clone()),
        }))
    }
}

#[derive(Debug)]
struct Listened {
    inner: HttpClient,
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
            let answer = self.inner.execute(request).await;
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
            answer
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
                let seconds = RETRY_TIMEOUT.as_secs();
                tracing::warn!(
                    store,
                    reason,
                    tried_for_seconds = seconds,
                    "store does not answer"
                );
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
