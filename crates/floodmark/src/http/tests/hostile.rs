//! Requests that get no answer, or not the one that they want.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use super::client::{connect, exchange, get, get_with, read_answer};
use super::job::Served;
use crate::http::serve::Limits;

#[test]
fn every_path_answers_and_carries_the_security_headers() {
    let served = Served::start();
    for (path, status) in [
        ("/", 200),
        ("/assets/index.html", 200),
        ("/healthz", 200),
        ("/readyz", 503),
        ("/metrics", 200),
        ("/api/status", 200),
        ("/api/samples?kind=log", 200),
        ("/api/samples?kind=nonsense", 400),
        ("/nowhere", 404),
        ("/assets/../../etc/passwd", 404),
        ("/assets/%2e%2e%2fmod.rs", 404),
        ("/api/status/", 404),
    ] {
        let answer = get(served.address(), path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        let header = |name: &str| answer.headers.get(name).map(String::as_str);
        assert_eq!(header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(header("referrer-policy"), Some("no-referrer"), "{path}");
        let policy = header("content-security-policy").unwrap_or_default();
        assert!(
            policy.starts_with("default-src 'self';"),
            "{path}: {policy}"
        );
    }
    assert_eq!(get(served.address(), "/healthz").body, "ok\n");
}

#[test]
fn an_unknown_path_names_those_that_there_are() {
    let served = Served::start();
    let answer = get(served.address(), "/prometheus");
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("/metrics"), "{}", answer.body);
}

#[test]
fn nothing_can_be_changed() {
    let served = Served::start();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let head = format!(
            "{method} /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        let answer = exchange(served.address(), &head);
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(
            answer.headers.get("allow").map(String::as_str),
            Some("GET, HEAD")
        );
    }
    let head = "HEAD /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(served.address(), head);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[test]
fn a_page_under_another_name_gets_no_answer() {
    let served = Served::start();
    for (host, status) in [
        ("localhost:8787", 200),
        ("127.0.0.1", 200),
        ("evil.example", 421),
        ("localhost.evil.example:8787", 421),
    ] {
        let head = format!("GET /api/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(exchange(served.address(), &head).status, status, "{host}");
    }
    let without = "GET /api/status HTTP/1.0\r\n\r\n";
    assert_eq!(exchange(served.address(), without).status, 421);
}

#[test]
fn a_request_that_takes_too_long_is_given_up() {
    let limits = Limits {
        header: Duration::from_millis(200),
        ..Limits::default()
    };
    let served = Served::within(limits);
    for begun in ["", "GET /api/status HTTP/1.1\r\nHost: loc"] {
        let mut stream = connect(served.address());
        stream.write_all(begun.as_bytes()).expect("sends");
        let mut rest = Vec::new();
        // Closed without an answer, or with one that says why; never kept.
        let _ = stream.read_to_end(&mut rest);
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.is_empty() || rest.contains(" 408 "), "{rest}");
    }
    assert_eq!(get(served.address(), "/healthz").status, 200);
}

#[test]
fn a_request_that_is_too_large_is_refused() {
    let served = Served::start();
    let long = "x".repeat(64 << 10);
    let large_header = format!("X-Large: {long}\r\n");
    let many_headers = "X-Many: x\r\n".repeat(500);
    let long_path = format!("/{long}");
    for (path, headers) in [
        ("/healthz", large_header.as_str()),
        ("/healthz", many_headers.as_str()),
        (long_path.as_str(), ""),
    ] {
        let mut stream = connect(served.address());
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        // It may be closed before everything is sent.
        let _ = stream.write_all(head.as_bytes());
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {
                let status = String::from_utf8_lossy(&answer);
                let refused = [" 431 ", " 414 ", " 400 "];
                let is_refused = refused.iter().any(|code| status.contains(code));
                assert!(is_refused || status.is_empty(), "{status}");
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    assert_eq!(get(served.address(), "/healthz").status, 200);
}

#[test]
fn what_is_no_request_ends_the_connection_and_nothing_else() {
    let served = Served::start();
    for nonsense in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\r\n\r\n",
    ] {
        let mut stream = connect(served.address());
        stream.write_all(nonsense.as_bytes()).expect("sends");
        let answer = read_answer(stream);
        assert_eq!(answer.status, 400, "{nonsense:?}");
    }
    assert_eq!(get(served.address(), "/healthz").status, 200);
}

#[test]
fn a_client_that_reads_nothing_is_given_up() {
    let limits = Limits {
        write: Duration::from_millis(300),
        ..Limits::default()
    };
    let served = Served::within(limits);
    let mut stream = connect(served.address());
    stream
        .set_write_timeout(Some(super::client::PATIENCE))
        .expect("a timeout");
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let error = loop {
        // Answers pile up until the server closes the connection.
        if let Err(error) = stream.write_all(request.as_bytes()) {
            break error;
        }
    };
    let closed = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(closed.contains(&error.kind()), "{error}");
    assert_eq!(get(served.address(), "/healthz").status, 200);
}

#[test]
fn metrics_come_in_the_format_that_is_asked_for() {
    let served = Served::start();
    let plain = get(served.address(), "/metrics");
    let content_type = |answer: &super::client::Answer| answer.headers["content-type"].clone();
    assert!(content_type(&plain).starts_with("text/plain; version=0.0.4"));
    assert!(!plain.body.contains("# EOF"), "{}", plain.body);
    let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.75,text/plain;q=0.5\r\n";
    let open = get_with(served.address(), "/metrics", accept);
    assert!(content_type(&open).starts_with("application/openmetrics-text"));
    assert!(open.body.ends_with("# EOF\n"), "{}", open.body);
}
