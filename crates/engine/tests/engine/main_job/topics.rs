//! Topics that are missing, empty, made anew, or grow.

use std::time::{Duration, Instant};

use floodmark_engine::kafka::admin::Topics;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;

use super::job::{CAUGHT_UP, Job, Topic, read};
use crate::events::{reading, records};
use crate::servers::{PATIENCE, cluster, deadline, topic};

/// Asks the cluster's administrator; the answer comes from a thread of the client's.
fn administer<T>(
    job: &Job,
    ask: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> T,
) -> T {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &job.cluster().brokers)
        .create()
        .expect("an admin client");
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(ask(&admin, &options))
}

#[test]
fn empty_topics_end_at_once_and_are_gone_on_with() {
    let job = Job::new();
    let finished = job.finish();
    job.verify(&[], &finished);
    let records = records(&[reading(0, 5), reading(2, 70)]);
    job.append(&records);
    let finished = job.finish();
    job.verify(&records, &finished);
}

#[test]
fn a_topic_is_there_for_others_as_soon_as_it_is_made() {
    let cluster = cluster();
    for _ in 0..10 {
        let made = topic(&cluster, "made", 12, &[]);
        let other = Topics::new(&cluster).expect("a client");
        let found = other.partitions(&made, deadline()).expect("metadata");
        assert_eq!(found, Some(12), "topic {made}");
    }
}

#[test]
fn a_missing_topic_is_named_with_the_command_that_makes_it() {
    for missing in Topic::ALL {
        let job = Job::without_topics();
        let mut there = Topic::ALL.to_vec();
        there.retain(|topic| *topic != missing);
        job.create(&there, &[]);
        let error = job.run_to(CAUGHT_UP).expect_err("a topic is missing");
        let text = error.to_string();
        assert!(
            text.contains(&job.topic(missing)) && text.contains("floodmark topics create"),
            "{text}"
        );
    }
}

#[test]
fn partitions_that_are_added_while_the_job_runs_are_read_from_their_start() {
    let job = Job::new();
    let mut all = records(&[reading(0, 5), reading(1, 10), reading(2, 15)]);
    job.append(&all);
    let added = records(&[reading(3, 7), reading(4, 12), reading(0, 20)]);
    let total = (all.len() + added.len()) as u64;
    let beside = || {
        let source = job.topic(Topic::Source);
        let grown = administer(&job, async |admin, options| {
            let partitions = NewPartitions::new(&source, 5);
            admin.create_partitions([&partitions], options).await
        });
        assert_eq!(grown.expect("an answer"), [Ok(source)]);
        job.append(&added);
    };
    job.run_while(|status| read(status) == total, Duration::ZERO, beside);
    all.extend(added.clone());
    let finished = job.finish();
    job.verify(&all, &finished);
}

#[test]
fn a_topic_made_anew_that_is_shorter_is_an_error_that_names_both_offsets() {
    let job = Job::new();
    let before: Vec<_> = (0..30).map(|second| reading(0, second)).collect();
    job.append(&records(&before));
    job.run_to(CAUGHT_UP).expect("runs");
    let source = job.topic(Topic::Source);
    let deleted = administer(&job, async |admin, options| {
        admin.delete_topics(&[&source], options).await
    });
    assert_eq!(deleted.expect("an answer"), [Ok(source.clone())]);
    let topics = Topics::new(job.cluster()).expect("a client");
    let until = deadline();
    while topics
        .partitions(&source, until)
        .expect("metadata")
        .is_some()
    {
        assert!(Instant::now() < until, "the topic does not go");
    }
    job.create(&[Topic::Source], &[]);
    job.append(&records(&before[..10]));
    let error = job.run_to(CAUGHT_UP).expect_err("a gap").to_string();
    assert!(
        error.contains("next offset is 30") && error.contains("0..10"),
        "{error}"
    );
}
