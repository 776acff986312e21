//! Topics: which exist, making those that do not, and what a topic allows.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use floodmark_pipeline::KafkaCluster;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{IsError, KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use super::{
    ClientEvents, KafkaTrouble, Role, Verdict, classify, client_config, create_failed, explain,
};

/// Longest wait for a cluster that does not answer when a pipeline is opened.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for a topic that was just made to show up with leaders. Brokers learn of it one after
/// the other; a cluster that is in order is done in milliseconds.
pub const APPEAR_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between two looks at a topic that is to show up.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// `max.message.bytes` of a topic that does not say, and Kafka's own default.
pub(crate) const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

/// A topic to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Topic properties.
    pub config: BTreeMap<String, String>,
}

/// What became of a topic that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// Made now.
    Created,
    /// There was one, with this many partitions.
    Existed {
        /// Its partitions.
        partitions: usize,
    },
}

/// A connection to a cluster for questions about topics.
pub struct Topics {
    cluster: KafkaCluster,
    client: BaseConsumer<ClientEvents>,
}

impl Topics {
    /// Makes the client; connects when first asked.
    pub fn new(cluster: &KafkaCluster) -> Result<Self, KafkaTrouble> {
        let client = client_config(cluster, &Role::Control)
            .create_with_context(ClientEvents::default())
            .map_err(|error| {
                create_failed(format!("connect to Kafka at {}", cluster.brokers), &error)
            })?;
        Ok(Self {
            cluster: cluster.clone(),
            client,
        })
    }

    /// Number of partitions of a topic; `None` if there is no such topic.
    pub fn partitions(
        &self,
        topic: &str,
        deadline: Instant,
    ) -> Result<Option<usize>, KafkaTrouble> {
        let attempted = || format!("look up topic '{topic}' on {}", self.cluster.brokers);
        let metadata = fetch_metadata(&self.client, topic, deadline)
            .map_err(|error| self.explain(attempted(), &error))?;
        topic_partitions(&metadata, topic).map_err(|error| self.explain(attempted(), &error))
    }

    /// Makes a topic unless it exists, and waits until it is there to be used: see
    /// [`Topics::wait_until_led`]. `deadline` is for the making; the wait has a limit of its own.
    pub fn create(&self, topic: &TopicSpec, deadline: Instant) -> Result<Created, KafkaTrouble> {
        if let Some(partitions) = self.partitions(&topic.name, deadline)? {
            return Ok(Created::Existed { partitions });
        }
        let attempted = || format!("create topic '{}' on {}", topic.name, self.cluster.brokers);
        let admin = self
            .admin()
            .map_err(|error| create_failed(attempted(), &error))?;
        let mut new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(-1));
        for (name, value) in &topic.config {
            new = new.set(name, value);
        }
        let timeout = remaining(deadline);
        let options = AdminOptions::new()
            .request_timeout(Some(timeout))
            .operation_timeout(Some(timeout));
        let results = block_on(admin.create_topics([&new], &options))
            .map_err(|error| self.explain(attempted(), &error))?;
        match results.into_iter().next() {
            Some(Ok(_)) => {
                self.wait_until_led(&topic.name, Instant::now() + APPEAR_TIMEOUT)?;
                Ok(Created::Created)
            }
            // Somebody else has made it since we looked.
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(Created::Existed {
                partitions: self.wait_until_led(&topic.name, Instant::now() + APPEAR_TIMEOUT)?,
            }),
            Some(Err((_, code))) => Err(self.explain(attempted(), &KafkaError::Global(code))),
            None => Err(KafkaTrouble::Failed {
                attempted: attempted(),
                reason: "the broker did not answer for this topic".to_owned(),
            }),
        }
    }

    /// Waits until the cluster's metadata shows a topic with a leader for each of its partitions, and
    /// returns their number. A cluster has made a topic before all its brokers know of it: who asks
    /// right after would be told that there is no such topic.
    pub fn wait_until_led(&self, topic: &str, deadline: Instant) -> Result<usize, KafkaTrouble> {
        let attempted = || {
            let brokers = &self.cluster.brokers;
            format!("wait for topic '{topic}' on {brokers}, which was made")
        };
        let not_led = |missing: String| KafkaTrouble::Misconfigured {
            attempted: attempted(),
            reason: missing,
            hint:
                "Check that all brokers of the cluster are up; `floodmark topics list FILE` shows \
                   which topics are there"
                    .to_owned(),
        };
        let mut seen = None;
        loop {
            let metadata = match fetch_metadata(&self.client, topic, deadline) {
                Ok(metadata) => metadata,
                Err(error) => {
                    // What was seen before the time was over says more than that it is.
                    let seen = seen.filter(|_| is_transient(&error));
                    return Err(seen.map_or_else(|| self.explain(attempted(), &error), not_led));
                }
            };
            let missing = match topic_partitions(&metadata, topic) {
                Ok(None) => "the cluster does not show it".to_owned(),
                Ok(Some(partitions)) => match without_leader(&metadata, topic) {
                    leaderless if leaderless.is_empty() => return Ok(partitions),
                    leaderless => format!("without a leader: partition {}", leaderless.join(", ")),
                },
                Err(error) if is_transient(&error) => error.to_string(),
                Err(error) => return Err(self.explain(attempted(), &error)),
            };
            if Instant::now() >= deadline {
                return Err(not_led(missing));
            }
            seen = Some(missing);
            std::thread::sleep(LOOK_AGAIN.min(remaining(deadline)));
        }
    }

    /// `max.message.bytes` of a topic. A cluster that does not let us look gets Kafka's default.
    pub(crate) fn max_message_bytes(&self, topic: &str, deadline: Instant) -> usize {
        let answer = self.admin().and_then(|admin| {
            let options = AdminOptions::new().request_timeout(Some(remaining(deadline)));
            block_on(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options))
        });
        let found = answer.ok().and_then(|resources| {
            let resource = resources.into_iter().next()?.ok()?;
            resource
                .get("max.message.bytes")
                .and_then(|entry| entry.value.as_deref()?.parse().ok())
        });
        found.unwrap_or_else(|| {
            tracing::debug!(topic, "max.message.bytes unknown, taking the default");
            DEFAULT_MAX_MESSAGE_BYTES
        })
    }

    fn admin(&self) -> KafkaResult<AdminClient<ClientEvents>> {
        AdminClient::from_config_and_context(
            &client_config(&self.cluster, &Role::Control),
            ClientEvents::default(),
        )
    }

    fn explain(&self, attempted: String, error: &KafkaError) -> KafkaTrouble {
        explain(
            attempted,
            &self.cluster.brokers,
            error,
            self.client.context().log(),
        )
    }
}

/// Fetches a topic's metadata, in growing slices of the time left: between them the client's error
/// events are served, so that refused credentials end the wait instead of using it up.
pub(crate) fn fetch_metadata(
    client: &BaseConsumer<ClientEvents>,
    topic: &str,
    deadline: Instant,
) -> KafkaResult<Metadata> {
    let mut slice = Duration::from_secs(1);
    loop {
        let result = client.fetch_metadata(Some(topic), slice.min(remaining(deadline)));
        serve_events(client);
        let Err(error) = result else { return result };
        let hopeless = client
            .context()
            .log()
            .last_error()
            .is_some_and(|(code, _)| is_refusal(code));
        if !is_transient(&error) || hopeless || Instant::now() >= deadline {
            return Err(error);
        }
        // An address that refuses connections fails at once; the client waits between its tries.
        std::thread::sleep(Duration::from_millis(50));
        slice += Duration::from_secs(1);
    }
}

fn is_transient(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
    classify(code) == Verdict::Transient
}

fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism
            | RDKafkaErrorCode::SSL
    )
}

/// Number of partitions in `metadata`; `None` if the topic does not exist.
pub(crate) fn topic_partitions(metadata: &Metadata, topic: &str) -> KafkaResult<Option<usize>> {
    let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else {
        return Ok(None);
    };
    match found
        .error()
        .filter(IsError::is_error)
        .map(RDKafkaErrorCode::from)
    {
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            Ok(None)
        }
        // A topic that was made a moment ago has partitions without a leader.
        Some(RDKafkaErrorCode::LeaderNotAvailable) | None if !found.partitions().is_empty() => {
            Ok(Some(found.partitions().len()))
        }
        Some(code) => Err(KafkaError::MetadataFetch(code)),
        None => Ok(None),
    }
}

/// The partitions of a topic that have no leader now.
fn without_leader(metadata: &Metadata, topic: &str) -> Vec<String> {
    let topics = metadata.topics().iter().filter(|t| t.name() == topic);
    topics
        .flat_map(|topic| topic.partitions())
        .filter(|partition| partition.leader() < 0)
        .map(|partition| partition.id().to_string())
        .collect()
}

/// Serves what the client has to tell (log lines, errors) without waiting.
pub(crate) fn serve_events(client: &BaseConsumer<ClientEvents>) {
    const MOST_EVENTS: usize = 32;
    for _ in 0..MOST_EVENTS {
        // One call serves one event and does not say whether there was one.
        let _served = client.poll(Duration::ZERO);
    }
}

/// Time left until `deadline`, at least a moment.
pub(crate) fn remaining(deadline: Instant) -> Duration {
    deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1))
}

/// Runs a future on this thread. The admin client answers from a thread of its own.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;

    /// librdkafka's own cluster: partitions of a real one have a leader before a test can look.
    #[test]
    fn a_topic_is_waited_for_until_all_its_partitions_have_leaders() {
        let brokers = MockCluster::new(1).expect("a cluster");
        brokers.create_topic("t", 2, 1).expect("a topic");
        brokers.partition_leader("t", 1, None).expect("no leader");
        let topics = Topics::new(&KafkaCluster {
            brokers: brokers.bootstrap_servers(),
            properties: BTreeMap::new(),
        })
        .expect("a client");
        // Long enough to connect on a machine that has much else to do.
        let limit = Duration::from_secs(5);
        let error = topics
            .wait_until_led("t", Instant::now() + limit)
            .expect_err("a partition has no leader");
        let text = error.to_string();
        assert!(text.contains("'t'"), "{text}");
        assert!(text.contains("without a leader: partition 1."), "{text}");
        assert!(text.contains("floodmark topics list"), "{text}");

        std::thread::scope(|scope| {
            let led = scope.spawn(|| topics.wait_until_led("t", Instant::now() + APPEAR_TIMEOUT));
            brokers.partition_leader("t", 1, Some(1)).expect("a leader");
            assert_eq!(led.join().expect("no panic"), Ok(2));
        });
    }
}
