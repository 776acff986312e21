//! Where an attack takes place: a broker, and what is watched meanwhile.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use floodmark_broker::Broker;
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, MetadataRequest, TopicName,
    create_topics_request::CreatableTopic,
};
use kafka_protocol::protocol::StrBytes;

use super::client::Client;

/// How often the memory of the process is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// One attack at a time: the memory is the process's.
static ALONE: Mutex<()> = Mutex::new(());

/// Panics of the broker's threads.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A broker under attack.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) broker: Broker,
    before: usize,
    watch: Watch,
    panics: usize,
    _alone: MutexGuard<'static, ()>,
}

impl Site {
    /// A broker with the topic `t` of three partitions.
    pub(super) fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        count_panics();
        let broker = Broker::builder().start().expect("the broker starts");
        let site = Self {
            broker,
            before: resident(),
            watch: Watch::start(),
            panics: PANICS.load(Ordering::SeqCst),
            _alone: alone,
        };
        let topic = CreatableTopic::default()
            .with_name(topic("t"))
            .with_num_partitions(3)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(1_000);
        let made = site.client().call(&request, 5).expect("it answers");
        assert_eq!(made.topics[0].error_code, 0);
        site
    }

    /// Another client.
    pub(super) fn client(&self) -> Client {
        Client::connect(self.broker.address())
    }

    /// How long a new client waits for its first answers.
    pub(super) fn round_trip(&self) -> Duration {
        let begin = Instant::now();
        let mut client = self.client();
        let versions = client
            .call(&ApiVersionsRequest::default(), 0)
            .expect("the broker answers");
        assert_eq!(versions.error_code, 0);
        let known = client
            .call(&MetadataRequest::default().with_topics(None), 4)
            .expect("the broker answers");
        assert!(
            known
                .topics
                .iter()
                .any(|topic| { topic.name.as_deref().map(|name| &**name) == Some("t") })
        );
        begin.elapsed()
    }

    /// The most memory that the attack has taken so far.
    pub(super) fn taken(&self) -> usize {
        self.watch.most().saturating_sub(self.before)
    }

    /// The broker answers, none of its threads has panicked, and at most so many MiB were taken.
    pub(super) fn stands(&self, bound_mib: usize) {
        let waited = self.round_trip();
        assert!(waited < Duration::from_secs(2), "an answer took {waited:?}");
        let panics = PANICS.load(Ordering::SeqCst) - self.panics;
        assert_eq!(panics, 0, "threads of the broker panicked");
        let taken = self.taken() >> 20;
        println!("taken: {taken} MiB of {bound_mib}");
        assert!(
            taken <= bound_mib,
            "{taken} MiB were taken, {bound_mib} are allowed"
        );
    }
}

/// A topic's name.
pub(super) fn topic(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() == Some("broker") {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            previous(panic);
        }));
    });
}

/// Bytes of memory that the process has.
fn resident() -> usize {
    const PAGE: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.map_or(0, |pages: usize| pages * PAGE)
}

#[derive(Debug)]
struct Watch {
    most: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start() -> Self {
        let (most, end) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, stop) = (Arc::clone(&most), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                seen.fetch_max(resident(), Ordering::Relaxed);
                std::thread::sleep(LOOK);
            }
        });
        Self {
            most,
            end,
            thread: Some(thread),
        }
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed).max(resident())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the watch ends");
        }
    }
}
