//! What is served: a run that never starts, or a real one on the embedded broker.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use floodmark_broker::Broker;
use floodmark_engine::connect::{connect, new_instance};
use floodmark_engine::kafka::admin::{CONNECT_TIMEOUT, TopicSpec, Topics};
use floodmark_engine::runtime::{
    EngineError, Finished, RunOptions, Status, StatusBoard, StopSignal, run,
};
use floodmark_engine::telemetry::Telemetry;
use floodmark_pipeline::{KafkaCluster, Pipeline};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::client::{PATIENCE, wait_for};
use crate::http::samples::KEPT;
use crate::http::serve::Limits;
use crate::http::{Failure, Listener, Server, Subject};

/// The reference pipeline.
pub(super) const REFERENCE: &str = include_str!("../../../../../pipelines/sensors.toml");

/// Its topics.
pub(super) const TOPICS: [&str; 3] = ["sensor_events", "sensor_alerts", "sensor_events_dead"];

fn parse(text: &str) -> Arc<Pipeline> {
    let (pipeline, _) = floodmark_pipeline::parse(text, &|_| None).expect("a valid file");
    Arc::new(pipeline)
}

/// A server of a run that has not started.
pub(super) struct Served {
    address: SocketAddr,
    _server: Server,
    pub(super) telemetry: Telemetry,
}

impl Served {
    pub(super) fn start() -> Self {
        Self::within(Limits::default())
    }

    pub(super) fn within(limits: Limits) -> Self {
        let pipeline = parse(REFERENCE);
        let plan = floodmark_sql::plan(&pipeline).expect("valid queries");
        let (board, telemetry) = (StatusBoard::new(), Telemetry::new(KEPT));
        let failure = Failure::default();
        let subject = Subject::new(&pipeline, &plan, REFERENCE, &board, &telemetry, &failure);
        let listener = Listener::bind("127.0.0.1:0", &[]).expect("a free port");
        Self {
            address: listener.address(),
            _server: listener.serve_within(subject, limits).expect("serves"),
            telemetry,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// An embedded broker with the topics of the reference pipeline.
pub(super) fn broker() -> Broker {
    let broker = Broker::builder()
        .listen("127.0.0.1:0")
        .start()
        .expect("a broker");
    let cluster = KafkaCluster {
        brokers: broker.address().to_string(),
        properties: std::collections::BTreeMap::new(),
    };
    let topics = Topics::new(&cluster).expect("a client");
    for name in TOPICS {
        let topic = TopicSpec {
            name: name.to_owned(),
            partitions: 1,
            config: std::collections::BTreeMap::new(),
        };
        let made = topics.create(&topic, Instant::now() + CONNECT_TIMEOUT);
        made.expect("a topic");
    }
    broker
}

/// Writes records to the source's topic.
pub(super) fn produce(broker: &Broker, values: &[String]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.address().to_string())
        .set("enable.idempotence", "true")
        .create()
        .expect("a producer");
    for value in values {
        let record = BaseRecord::<(), str>::to(TOPICS[0]).payload(value);
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .expect("room");
    }
    producer.flush(PATIENCE).expect("delivered");
}

/// The reference pipeline on `brokers`, its files in `directory`; idle never, so that only events move
/// the watermark.
pub(super) fn file(brokers: &str, directory: &Path) -> String {
    REFERENCE
        .replace("${KAFKA_BROKERS:-localhost:9092}", brokers)
        .replace("s3://rt-stream", &directory.display().to_string())
        .replace("idle_after = \"30 seconds\"", "idle_after = \"10 hours\"")
        .replace("interval = \"10 seconds\"", "interval = \"300 ms\"")
        .replace("ts = \"TIMESTAMP NOT NULL\"", "ts = \"TIMESTAMP\"")
}

/// A run with its server.
pub(super) struct Job {
    address: SocketAddr,
    _server: Server,
    pub(super) telemetry: Telemetry,
    board: StatusBoard,
    stop: StopSignal,
    engine: JoinHandle<Result<Finished, EngineError>>,
    _io: tokio::runtime::Runtime,
}

impl Job {
    pub(super) fn start(file: &str) -> Self {
        let pipeline = parse(file);
        let plan = Arc::new(floodmark_sql::plan(&pipeline).expect("valid queries"));
        let (board, telemetry) = (StatusBoard::new(), Telemetry::new(KEPT));
        let (stop, failure) = (StopSignal::new(), Failure::default());
        let subject = Subject::new(&pipeline, &plan, file, &board, &telemetry, &failure);
        let listener = Listener::bind("127.0.0.1:0", &[]).expect("a free port");
        let address = listener.address();
        let server = listener.serve(subject).expect("serves");
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (handle, posted, signal) = (io.handle().clone(), board.clone(), stop.clone());
        let told = telemetry.clone();
        let engine = std::thread::spawn(move || {
            let outcome = connect(pipeline, plan, new_instance(), false, handle, told)
                .and_then(|parts| run(parts, RunOptions::default(), &signal, &posted));
            if let Err(error) = &outcome {
                failure.is(error.to_string());
            }
            outcome
        });
        Self {
            address,
            _server: server,
            telemetry,
            board,
            stop,
            engine,
            _io: io,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the engine says so.
    pub(super) fn wait_until(&self, what: &str, is: impl Fn(&Status) -> bool) -> Status {
        wait_for(what, || {
            assert!(
                !self.engine.is_finished(),
                "the run has ended: {:?}",
                self.board.read()
            );
            let status = self.board.read();
            is(&status).then_some(status)
        })
    }

    /// Waits for the engine's own end.
    pub(super) fn wait_for_end(&self) {
        wait_for("end of the run", || self.engine.is_finished().then_some(()));
    }

    /// Drains; the server still answers.
    pub(super) fn drain(&self) -> Status {
        self.stop.stop();
        self.wait_for_end();
        self.board.read()
    }

    /// How it ended.
    pub(super) fn end(self) -> Result<Finished, EngineError> {
        self.engine.join().expect("no panic")
    }
}
