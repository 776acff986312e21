//! What is said while nothing flows, and that no answer holds a secret.

use super::client::{Events, get, wait_for};
use super::job::{Job, REFERENCE, TOPICS, broker, file};

/// An address at which nobody answers.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn a_start_says_what_it_waits_for_and_a_failure_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let job = Job::start(&file(NOBODY, directory.path()));
    let waiting = wait_for("the source", || {
        let answer = get(job.address(), "/readyz");
        assert_eq!(answer.status, 503);
        let waiting = answer.json()["waiting_for"][0].as_str()?.to_owned();
        waiting
            .contains("source 'sensor_events'")
            .then_some(waiting)
    });
    assert!(waiting.contains(NOBODY), "{waiting}");
    assert!(waiting.contains(TOPICS[0]), "{waiting}");
    assert_eq!(get(job.address(), "/healthz").status, 200);

    job.wait_for_end();
    let health = get(job.address(), "/healthz");
    assert_eq!(health.status, 503);
    assert!(health.body.contains(NOBODY), "{}", health.body);
    let status = get(job.address(), "/api/status").json();
    assert_eq!(status["phase"], "failed");
    assert_eq!(status["ready"], false);
    assert!(job.end().is_err());
}

#[test]
fn a_run_is_ready_until_its_broker_is_gone_and_then_names_it() {
    let broker = broker();
    let directory = tempfile::tempdir().expect("a directory");
    let job = Job::start(&file(&broker.address().to_string(), directory.path()));
    wait_for("readiness", || {
        (get(job.address(), "/readyz").status == 200).then_some(())
    });
    assert_eq!(get(job.address(), "/readyz").json()["ready"], true);
    broker.stop().expect("stops");
    let waiting = wait_for("trouble", || {
        let answer = get(job.address(), "/readyz");
        (answer.status == 503).then(|| answer.json()["waiting_for"][0].to_string())
    });
    assert!(waiting.contains("source 'sensor_events'"), "{waiting}");
    // The engine's thread lives on and waits.
    assert_eq!(get(job.address(), "/healthz").status, 200);
}

#[test]
fn no_answer_holds_a_secret() {
    const SECRETS: [&str; 4] = [
        "hunter2-kafka",
        "hunter2-key-id",
        "hunter2-s3",
        "hunter2-sink",
    ];
    let text = REFERENCE
        .replace("${KAFKA_BROKERS:-localhost:9092}", NOBODY)
        .replace("s3://rt-stream/_chk", "CHECKPOINT")
        .replace(
            "[sources.sensor_events.schema]",
            "[sources.sensor_events.kafka]\n\"security.protocol\" = \"SASL_PLAINTEXT\"\n\
             \"sasl.mechanism\" = \"PLAIN\"\n\"sasl.username\" = \"somebody\"\n\
             \"sasl.password\" = \"hunter2-kafka\"\n\n[sources.sensor_events.schema]",
        )
        .replace(
            "[dead_letter]",
            "[outputs.alerts.sink.kafka]\n\"sasl.password\" = \"hunter2-sink\"\n\n\
             [storage.s3]\naccess_key_id = \"hunter2-key-id\"\n\
             secret_access_key = \"hunter2-s3\"\nendpoint = \"http://127.0.0.1:1\"\n\n[dead_letter]",
        );
    let directory = tempfile::tempdir().expect("a directory");
    let text = text.replace("CHECKPOINT", &directory.path().display().to_string());
    let job = Job::start(&text);
    let look = || {
        for path in [
            "/",
            "/healthz",
            "/readyz",
            "/metrics",
            "/api/status",
            "/api/samples?kind=log",
            "/x",
        ] {
            let answer = get(job.address(), path);
            let shown = format!("{:?}{}", answer.headers, answer.body);
            for secret in SECRETS {
                assert!(!shown.contains(secret), "{path}: {shown}");
            }
        }
        let mut events = Events::open(job.address(), None).expect("a stream");
        let (_, status) = (events.next(), events.next());
        assert!(
            status.data.contains("sensor_events @ 127.0.0.1:1"),
            "{}",
            status.data
        );
        assert!(SECRETS.iter().all(|secret| !status.data.contains(secret)));
    };
    look();
    job.wait_for_end();
    look();
    assert!(job.end().is_err());
}
