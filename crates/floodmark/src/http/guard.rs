//! What every answer carries, and which requests get none.
//!
//! A page of somebody else's can make a browser send requests to a server on this machine, and by
//! changing its own name's address (DNS rebinding) even read the answers. The browser then still names
//! the page's host, so a server answers only to [`Names`] that are its own.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::{
    ALLOW, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, Request, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'",
);

/// Names that this machine has for itself.
const OURSELVES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Hosts that requests may be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names {
    /// Whatever the client calls it.
    Any,
    /// This machine's own names, and these.
    OursAnd(Vec<String>),
}

impl Names {
    /// Names of a server on a loopback address or beyond it, whose user has told it some. Beyond it a
    /// server that was told none cannot know what it is called.
    pub(super) fn new(told: Vec<String>, loopback: bool) -> Self {
        if told.is_empty() && !loopback {
            Self::Any
        } else {
            Self::OursAnd(told)
        }
    }

    /// Whether a `Host` is one of them, with any port or none.
    fn include(&self, host: &str) -> bool {
        let Self::OursAnd(told) = self else {
            return true;
        };
        let told = told.iter().map(String::as_str);
        OURSELVES.into_iter().chain(told).any(|name| is(host, name))
    }

    fn refusal(&self) -> String {
        let told = match self {
            Self::Any => &[][..],
            Self::OursAnd(told) => told,
        };
        let names = OURSELVES.into_iter().chain(told.iter().map(String::as_str));
        let names: Vec<&str> = names.collect();
        format!(
            "this server answers to {} only; tell it other names with --http-host NAME\n",
            names.join(", ")
        )
    }
}

/// Wraps a router so that every request passes here.
pub(super) fn protect(router: Router, names: Names) -> Router {
    let names = Arc::new(names);
    router.layer(from_fn(move |request, next| {
        answer(request, next, Arc::clone(&names))
    }))
}

async fn answer(request: Request<Body>, next: Next, names: Arc<Names>) -> Response {
    let mut response = match refusal(&request, &names) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn refusal(request: &Request<Body>, names: &Names) -> Option<Response> {
    let host = request.headers().get(HOST);
    let host = host.map_or(Some(""), |host| host.to_str().ok());
    if !host.is_some_and(|host| names.include(host)) {
        return Some((StatusCode::MISDIRECTED_REQUEST, names.refusal()).into_response());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allow = [(ALLOW, HeaderValue::from_static("GET, HEAD"))];
        let text = "nothing can be changed here: GET and HEAD only\n";
        return Some((StatusCode::METHOD_NOT_ALLOWED, allow, text).into_response());
    }
    None
}

/// Whether a `Host` is this name, with any port or none.
fn is(host: &str, name: &str) -> bool {
    let rest = host
        .get(..name.len())
        .filter(|start| start.eq_ignore_ascii_case(name))
        .map(|_| &host[name.len()..]);
    rest.is_some_and(|rest| {
        rest.is_empty()
            || rest
                .strip_prefix(':')
                .is_some_and(|port| port.parse::<u16>().is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        let names = Names::new(Vec::new(), true);
        for host in [
            "localhost",
            "LOCALHOST:8787",
            "127.0.0.1:1",
            "[::1]:8787",
            "[::1]",
        ] {
            assert!(names.include(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:evil",
            "localhost:",
            "::1",
            "127.0.0.2",
            "lo\u{212a}alhost",
        ] {
            assert!(!names.include(host), "{host}");
        }
    }

    #[test]
    fn a_server_that_was_told_names_answers_to_them_and_its_own() {
        let told = || vec!["floodmark".to_owned()];
        for names in [Names::new(told(), true), Names::new(told(), false)] {
            for host in ["floodmark", "FLOODMARK:8787", "localhost:8787"] {
                assert!(names.include(host), "{host}");
            }
            for host in ["", "floodmark.evil.example", "10.0.0.7:8787"] {
                assert!(!names.include(host), "{host}");
            }
            assert!(names.refusal().contains("[::1], floodmark only"));
        }
        let anyone = Names::new(Vec::new(), false);
        assert!(anyone.include("10.0.0.7:8787") && anyone.include(""));
    }
}
