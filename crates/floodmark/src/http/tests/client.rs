//! A client that writes what it likes and reads what comes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks at a state that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// Connects; reads give up after [`PATIENCE`].
pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Sends a request's head and reads the whole answer.
pub(super) fn exchange(address: SocketAddr, head: &str) -> Answer {
    let mut stream = connect(address);
    stream.write_all(head.as_bytes()).expect("sends");
    read_answer(stream)
}

/// Reads an answer up to the end of the connection.
pub(super) fn read_answer(mut stream: impl Read) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("reads an answer");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().expect("a status");
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Answer {
        status: status
            .split(' ')
            .nth(1)
            .expect("a code")
            .parse()
            .expect("a number"),
        headers: headers.collect(),
        body: body.to_owned(),
    }
}

/// `GET`, with further header lines.
pub(super) fn get_with(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    exchange(address, &head)
}

pub(super) fn get(address: SocketAddr, path: &str) -> Answer {
    get_with(address, path, "")
}

/// Waits for a state.
pub(super) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A server-sent event.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) id: Option<u64>,
    pub(super) data: String,
    pub(super) retry: Option<u64>,
}

/// A stream of them.
pub(super) struct Events(BufReader<TcpStream>);

impl Events {
    /// Connects and reads the head; the code if it is not 200.
    pub(super) fn open(address: SocketAddr, last: Option<u64>) -> Result<Self, u16> {
        let mut stream = connect(address);
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n"));
        let head = format!(
            "GET /api/events HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
            last.unwrap_or_default()
        );
        stream.write_all(head.as_bytes()).expect("sends");
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("a status");
        let status: u16 = line
            .split(' ')
            .nth(1)
            .expect("a code")
            .parse()
            .expect("a number");
        if status != 200 {
            return Err(status);
        }
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line).expect("a head");
        }
        Ok(Self(reader))
    }

    /// The next event; chunk sizes between the lines are passed over.
    pub(super) fn next(&mut self) -> Event {
        let mut event = Event::default();
        let mut any = false;
        loop {
            let mut line = String::new();
            assert!(
                self.0.read_line(&mut line).expect("reads") > 0,
                "the stream has ended"
            );
            match line
                .trim_end()
                .split_once(": ")
                .or(line.trim_end().split_once(':'))
            {
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("id", id)) => event.id = id.parse().ok(),
                Some(("retry", retry)) => event.retry = retry.parse().ok(),
                Some(("data", data)) => data.clone_into(&mut event.data),
                _ if line.trim().is_empty() && any => return event,
                _ => continue,
            }
            any = true;
        }
    }

    /// The next sample.
    pub(super) fn sample(&mut self) -> Event {
        loop {
            let event = self.next();
            if event.name == "sample" {
                return event;
            }
        }
    }
}
