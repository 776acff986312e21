//! A client that sends what it likes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// Longest wait for anything from the broker.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the broker accepts");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        stream.set_nodelay(true).expect("delays can be turned off");
        Self { stream }
    }

    /// Waits so long for answers from now on.
    pub(super) fn waits(&self, patience: Duration) {
        self.stream
            .set_read_timeout(Some(patience))
            .expect("a timeout can be set");
    }

    /// Sends bytes as they are. The broker may have closed the connection.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next answer, without its length.
    pub(super) fn receive(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut answer)?;
        Ok(answer.into())
    }

    /// Sends a request and returns its answer.
    pub(super) fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> io::Result<R::Response> {
        self.send(&frame(request, version))?;
        let mut answer = self.receive()?;
        assert_eq!(answer.get_i32(), CORRELATION_ID);
        if R::Response::header_version(version) >= 1 {
            assert_eq!(answer.get_u8(), 0);
        }
        let response = R::Response::decode(&mut answer, version).expect("the answer decodes");
        assert!(answer.is_empty(), "the answer has more bytes than it says");
        Ok(response)
    }

    /// Whether the broker closes the connection before it answers.
    pub(super) fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(read) => read == 0,
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ),
        }
    }

    /// Says that nothing more comes.
    pub(super) fn finish(&self) {
        // The broker may have gone first.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}

/// What every answer must repeat.
const CORRELATION_ID: i32 = 7;

/// A request as it goes over the wire.
pub(super) fn frame<R: Request>(request: &R, version: i16) -> Vec<u8> {
    let mut body = BytesMut::new();
    request
        .encode(&mut body, version)
        .expect("the request encodes");
    raw_frame(R::KEY, version, R::header_version(version), &body)
}

/// A body as a request of this number and version.
pub(super) fn raw_frame(key: i16, version: i16, header_version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(CORRELATION_ID)
        .with_client_id(Some(StrBytes::from_static_str("hostile")))
        .encode(&mut bytes, header_version)
        .expect("the header encodes");
    bytes.extend_from_slice(body);
    [&(bytes.len() as i32).to_be_bytes()[..], &bytes].concat()
}
