//! The HTTP client of traces: the one that the object store uses, TLS included.

use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, ResponseBodyTooLarge};
use reqwest::Url;
use reqwest::redirect::Policy;

/// Bytes of an answer that are read; a collector says a sentence or nothing.
const MOST_ANSWER_BYTES: usize = 64 * 1024;

/// Sends one request on a connection of its own: seconds pass between two.
#[derive(Debug)]
pub(super) struct Client(reqwest::Client);

impl Client {
    /// A client for this URL.
    pub(super) fn new(url: &Url, timeout: Duration) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .pool_max_idle_per_host(0)
            // Headers may hold credentials, which are for this server alone.
            .redirect(Policy::none())
            .tls_built_in_root_certs(url.scheme() == "https")
            .build();
        client
            .map(Self)
            .context("preparing the HTTP client of traces")
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut answer = self.0.execute(request.try_into()?).await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > MOST_ANSWER_BYTES {
                return Err(ResponseBodyTooLarge::new().into());
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}
