//! Where an attack takes place: a broker in a process of its own, and what is seen of it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use floodmark_broker::Broker;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::client::Client;

/// Says to this program that it is the broker.
const ROLE: &str = "FLOODMARK_HOSTILE_BROKER";
/// Stands before the address that the broker says.
const LISTENING: &str = "listening on ";
/// A client that has to wait for another one waits for the broker's patience with clients that stand
/// still, which is 30 s. Whoever is answered within this has waited for the machine at most.
pub(super) const PROMPT: Duration = Duration::from_secs(15);
/// Longest wait right after requests that give it much to do.
const PATIENCE: Duration = Duration::from_secs(5);

/// A broker under attack.
#[derive(Debug)]
pub(super) struct Site {
    address: SocketAddr,
    process: Child,
    /// Held open: it has more to say at its end.
    _out: BufReader<ChildStdout>,
    before: usize,
}

impl Site {
    /// A broker with the topic `t` of three partitions.
    pub(super) fn new() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut process = Command::new(program)
            .args(["--exact", "site::is_attacked", "--ignored", "--nocapture"])
            .env(ROLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the broker's process starts");
        let mut out = BufReader::new(process.stdout.take().expect("it is piped"));
        let address = (&mut out)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.split(LISTENING).nth(1)?.parse().ok())
            .expect("the broker says where it listens");
        let mut site = Self {
            address,
            process,
            _out: out,
            before: 0,
        };
        site.make_topic("t", 3);
        site.before = site.most_resident();
        site
    }

    /// Makes a topic.
    pub(super) fn make_topic(&self, name: &str, partitions: i32) {
        let topic = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(1_000);
        let made = self.client().call(&request, 5).expect("it answers");
        assert_eq!(made.topics[0].error_code, 0);
    }

    /// Another client.
    pub(super) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// How long a new client waits for its first answers.
    pub(super) fn round_trip(&self) -> Duration {
        let begin = Instant::now();
        let mut client = self.client();
        let versions = client.call(&ApiVersionsRequest::default(), 0);
        assert_eq!(versions.expect("the broker answers").error_code, 0);
        let known = client.call(&MetadataRequest::default().with_topics(None), 4);
        assert_eq!(known.expect("the broker answers").brokers.len(), 1);
        begin.elapsed()
    }

    /// The most MiB that the attack has taken so far.
    pub(super) fn taken(&self) -> usize {
        self.most_resident().saturating_sub(self.before) >> 10
    }

    /// KiB of memory that the broker had at its highest.
    fn most_resident(&self) -> usize {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("Linux tells");
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        most.and_then(|most| most.trim().strip_suffix(" kB")?.parse().ok())
            .expect("Linux tells the highest")
    }

    /// The broker answers, at most so many MiB were taken, and none of its threads has panicked.
    pub(super) fn stands(mut self, bound_mib: usize) {
        let waited = self.round_trip();
        assert!(waited < PATIENCE, "an answer took {waited:?}");
        let taken = self.taken();
        println!("{taken} of {bound_mib} MiB were taken");
        assert!(taken <= bound_mib, "{taken} MiB were taken");
        drop(self.process.stdin.take());
        let ended = self.process.wait().expect("the broker's process ends");
        assert!(ended.success(), "a thread of the broker panicked");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // After `stands` it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A topic's name.
pub(super) fn topic(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// No test, but the broker of the others; it ends with its standard input.
#[test]
#[ignore = "the other tests start it"]
fn is_attacked() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        previous(panic);
    }));
    let broker = Broker::builder().start().expect("the broker starts");
    println!("{LISTENING}{}", broker.address());
    let end = std::io::stdin().read_to_end(&mut Vec::new());
    end.expect("standard input ends");
    drop(broker);
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}
