//! A bad network: passes everything on, except that acknowledgements get lost.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, FindCoordinatorResponse, MetadataResponse, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use crate::support::brokers;

/// Stands between clients and the broker under test, and has them believe that the broker is here.
/// Lives as long as the test process.
pub(crate) struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    port: i32,
    /// Every so manieth acknowledgement is lost, and its connection with it.
    lose_every: usize,
    seen: AtomicUsize,
    lost: AtomicUsize,
}

/// Kind and version of the requests that wait for an answer, by correlation id.
type Pending = Arc<Mutex<HashMap<i32, (i16, i16)>>>;

impl Proxy {
    /// Loses every `every`th answer to a produce request: the records are stored, the client does not
    /// hear of it.
    pub(crate) fn losing_acknowledgements(every: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            port: i32::from(address.port()),
            lose_every: every,
            seen: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A broker that is gone shows as a connection that closes.
                let _closed = accepting.connect(client);
            }
        });
        Self {
            address: address.to_string(),
            shared,
        }
    }

    /// What clients call `bootstrap.servers`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// How many acknowledgements were lost.
    pub(crate) fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let broker = TcpStream::connect(brokers())?;
        broker.set_nodelay(true)?;
        client.set_nodelay(true)?;
        let pending = Pending::default();
        let (from, to) = (client.try_clone()?, broker.try_clone()?);
        let asked = Arc::clone(&pending);
        std::thread::spawn(move || close_after(requests(&from, &to, &asked), &from, &to));
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            close_after(shared.answers(&broker, &client, &pending), &broker, &client);
        });
        Ok(())
    }

    fn answers(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        pending: &Pending,
    ) -> io::Result<()> {
        loop {
            let frame = read_frame(&mut from)?;
            let correlation = (&frame[..]).get_i32();
            let asked = pending.lock().map_err(|_| io::ErrorKind::Other)?;
            let kind = { asked }.remove(&correlation);
            let (key, version) = kind.ok_or(io::ErrorKind::InvalidData)?;
            if key == ApiKey::Produce as i16 {
                let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
                if seen.is_multiple_of(self.lose_every) {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
            }
            write_frame(&mut to, &self.redirect(key, version, frame))?;
        }
    }

    /// Puts this proxy's port where an answer names the broker's.
    fn redirect(&self, key: i16, version: i16, frame: Bytes) -> Bytes {
        let port = self.port;
        if key == ApiKey::Metadata as i16 {
            rewrite::<MetadataResponse>(frame, version, |answer| {
                for broker in &mut answer.brokers {
                    broker.port = port;
                }
            })
        } else if key == ApiKey::FindCoordinator as i16 {
            rewrite::<FindCoordinatorResponse>(frame, version, |answer| {
                answer.port = if version < 4 { port } else { 0 };
                for coordinator in &mut answer.coordinators {
                    coordinator.port = port;
                    coordinator.host = StrBytes::from_static_str("127.0.0.1");
                }
            })
        } else {
            frame
        }
    }
}

fn rewrite<R: Decodable + Encodable + HeaderVersion>(
    mut frame: Bytes,
    version: i16,
    change: impl FnOnce(&mut R),
) -> Bytes {
    let header_version = R::header_version(version);
    let header = ResponseHeader::decode(&mut frame, header_version).expect("a header");
    let mut answer = R::decode(&mut frame, version).expect("an answer");
    change(&mut answer);
    let mut out = BytesMut::new();
    header.encode(&mut out, header_version).expect("a header");
    answer.encode(&mut out, version).expect("an answer");
    out.freeze()
}

fn requests(mut from: &TcpStream, mut to: &TcpStream, pending: &Pending) -> io::Result<()> {
    loop {
        let frame = read_frame(&mut from)?;
        let mut header = &frame[..8];
        let kind = (header.get_i16(), header.get_i16());
        let correlation = header.get_i32();
        let asked = pending.lock().map_err(|_| io::ErrorKind::Other)?;
        { asked }.insert(correlation, kind);
        write_frame(&mut to, &frame)?;
    }
}

/// When one direction has ended, so does the other.
fn close_after(_ended: io::Result<()>, one: &TcpStream, other: &TcpStream) {
    for stream in [one, other] {
        // It may be closed already.
        let _closed = stream.shutdown(Shutdown::Both);
    }
}

fn read_frame(from: &mut impl Read) -> io::Result<Bytes> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut frame)?;
    Ok(frame.into())
}

fn write_frame(to: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    to.write_all(&(frame.len() as u32).to_be_bytes())?;
    to.write_all(frame)
}
