//! A collector for one test: takes requests over HTTP, keeps the spans in them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// Attributes by name, as text.
pub(super) type Attributes = BTreeMap<String, String>;

/// A request as it came.
pub(super) struct Request {
    pub(super) path: String,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first).unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let length = headers["content-length"].parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let path = first.split(' ').nth(1).unwrap().to_owned();
        Self {
            path,
            headers,
            body,
        }
    }

    pub(super) fn decode(&self) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest::decode(self.body.as_slice()).unwrap()
    }
}

/// Listens on a port of its own until the test ends.
pub(super) struct Collector {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Collector {
    /// One that answers every request with this status.
    pub(super) fn answering(status: &'static str) -> Self {
        Self::saying(status, Vec::new())
    }

    /// One that takes every request, but not this many of the spans in it.
    pub(super) fn refusing(spans: i64, why: &str) -> Self {
        let answer = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: spans,
                error_message: why.to_owned(),
            }),
        };
        Self::saying("200 OK", answer.encode_to_vec())
    }

    fn saying(status: &'static str, body: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = Request::read(&stream);
                kept.lock().unwrap().push(request);
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
                let answer = [head.as_bytes(), &body].concat();
                stream.write_all(&answer).unwrap();
            }
        });
        Self { url, requests }
    }

    /// What it has received.
    pub(super) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

/// All spans of some requests.
pub(super) fn spans(requests: &[Request]) -> Vec<Span> {
    let resources = requests.iter().flat_map(|r| r.decode().resource_spans);
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

pub(super) fn attributes(attributes: &[KeyValue]) -> Attributes {
    let text = |value: &AnyValue| match value.value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
        other => panic!("{other:?}"),
    };
    let named = attributes.iter();
    named
        .map(|named| (named.key.clone(), text(named.value.as_ref().unwrap())))
        .collect()
}
