//! What every answer carries, and which requests get none.
//!
//! A page of somebody else's can make a browser send requests to a server on this machine, and by
//! changing its own name's address (DNS rebinding) even read the answers. The browser then still names
//! the page's host, so on a loopback address only the machine's own names are answered.

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

/// Wraps a router so that every request passes here.
pub(super) fn protect(router: Router, loopback: bool) -> Router {
    router.layer(from_fn(move |request, next| {
        answer(request, next, loopback)
    }))
}

async fn answer(request: Request<Body>, next: Next, loopback: bool) -> Response {
    let mut response = match refusal(&request, loopback) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn refusal(request: &Request<Body>, loopback: bool) -> Option<Response> {
    let host = request.headers().get(HOST);
    let host = host.map_or(Some(""), |host| host.to_str().ok());
    if loopback && !host.is_some_and(is_ourselves) {
        let text = "this server answers to localhost, 127.0.0.1 and [::1] only; to be reached under \
                    other names, give it an address beyond this machine with --http\n";
        return Some((StatusCode::MISDIRECTED_REQUEST, text).into_response());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allow = [(ALLOW, HeaderValue::from_static("GET, HEAD"))];
        let text = "nothing can be changed here: GET and HEAD only\n";
        return Some((StatusCode::METHOD_NOT_ALLOWED, allow, text).into_response());
    }
    None
}

/// Whether a `Host` names this machine, with any port or none.
fn is_ourselves(host: &str) -> bool {
    OURSELVES.iter().any(|name| {
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
    })
}

#[cfg(test)]
mod tests {
    use super::is_ourselves;

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        for host in [
            "localhost",
            "LOCALHOST:8787",
            "127.0.0.1:1",
            "[::1]:8787",
            "[::1]",
        ] {
            assert!(is_ourselves(host), "{host}");
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
            assert!(!is_ourselves(host), "{host}");
        }
    }
}
