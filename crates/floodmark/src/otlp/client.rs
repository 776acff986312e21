//! The HTTP client of traces: the one that the object store uses, TLS included.
//!
//! The exporter above it passes on neither why a server could not be reached nor how many spans it
//! took and threw away. So both are left in a [`Note`], beside what is returned.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, ResponseBodyTooLarge};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use reqwest::Url;
use reqwest::redirect::Policy;

/// Bytes of an answer that are read; a collector says a sentence or nothing.
const MOST_ANSWER_BYTES: usize = 64 * 1024;

/// What is to be known of the last request and is not in its outcome.
#[derive(Debug, Clone, Default)]
pub(super) struct Note(Arc<Mutex<Option<Trouble>>>);

/// What was wrong with a request.
#[derive(Debug)]
pub(super) enum Trouble {
    /// There was no whole answer.
    Unanswered(String),
    /// The answer was yes, but not to so many of the spans.
    Refused { spans: usize, why: String },
}

impl Note {
    /// What was wrong, if anything was; it is told once.
    pub(super) fn take(&self) -> Option<Trouble> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn leave(&self, trouble: Trouble) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }
}

/// Sends one request on a connection of its own: seconds pass between two.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    note: Note,
}

impl Client {
    /// A client for this URL.
    pub(super) fn new(url: &Url, timeout: Duration, note: Note) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .pool_max_idle_per_host(0)
            // Headers may hold credentials, which are for this server alone.
            .redirect(Policy::none())
            .tls_built_in_root_certs(url.scheme() == "https")
            .build();
        let http = http.context("preparing the HTTP client of traces")?;
        Ok(Self { http, note })
    }

    /// An answer that failed on its way; who asked knows the URL.
    fn unanswered(&self, error: reqwest::Error) -> HttpError {
        let why = format!("{:#}", anyhow!(error.without_url()));
        self.note.leave(Trouble::Unanswered(why.clone()));
        why.into()
    }

    /// Looks for spans that were not taken.
    fn read(&self, body: &[u8]) {
        let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
        let refused = answer.partial_success.unwrap_or_default();
        let spans = usize::try_from(refused.rejected_spans).unwrap_or_default();
        if spans > 0 {
            let why = refused.error_message;
            self.note.leave(Trouble::Refused { spans, why });
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let asked = self.http.execute(request.try_into()?).await;
        let mut answer = asked.map_err(|error| self.unanswered(error))?;
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| self.unanswered(error))?
        {
            if body.len() + chunk.len() > MOST_ANSWER_BYTES {
                return Err(ResponseBodyTooLarge::new().into());
            }
            body.extend_from_slice(&chunk);
        }
        if answer.status().is_success() {
            self.read(&body);
        }
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}
