//! Counts requests that an object store's server refused for now, or did not answer: each is made
//! again by the client, until its limit.

use std::pin::Pin;

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

use crate::telemetry::Retries;

/// HTTP statuses below 500 after which a request is made again: the server wants less, or was not sent
/// the request in time.
const TRY_AGAIN: [u16; 2] = [408, 429];

/// Connects like the client's own connector, and counts.
#[derive(Debug)]
pub(super) struct Counting(pub(super) Retries);

impl HttpConnector for Counting {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        let retries = self.0.clone();
        Ok(HttpClient::new(Counted { inner, retries }))
    }
}

#[derive(Debug)]
struct Counted {
    inner: HttpClient,
    retries: Retries,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Counted {
    fn call<'this, 'answer>(&'this self, request: HttpRequest) -> Answer<'answer>
    where
        'this: 'answer,
        Self: 'answer,
    {
        Box::pin(async move {
            let answer = self.inner.execute(request).await;
            let again = answer.as_ref().map_or(true, |answer| {
                let status = answer.status();
                status.is_server_error() || TRY_AGAIN.contains(&status.as_u16())
            });
            if again {
                self.retries.count_storage();
            }
            answer
        })
    }
}
