use std::collections::BTreeMap;

use tokio::sync::Notify;

use super::*;
use crate::units::Now;
use crate::units::Offset;

fn in_memory() -> (Topics, Journal) {
    let home = Home::Memory(MemoryBudget::new(1 << 20));
    (Topics::new(home), Journal::in_memory())
}

fn create(topics: &Topics, journal: &Journal, name: &str) -> Result<Arc<Topic>, TopicError> {
    topics.create(name, 2, BTreeMap::new(), journal)
}

#[test]
fn a_topic_is_there_until_it_is_deleted() {
    let (topics, journal) = in_memory();
    let topic = create(&topics, &journal, "events").unwrap();
    assert_eq!(topics.get_by_id(topic.id).unwrap().name, topic.name);
    assert!(topics.partition("events", 1).is_some());
    assert!(topics.partition("events", 2).is_none());
    assert!(topics.partition("events", -1).is_none());
    topics.delete("events", &journal).unwrap();
    assert!(topics.get("events").is_none());
    assert!(matches!(
        topics.delete("events", &journal),
        Err(TopicError::Unknown)
    ));
}

#[test]
fn a_name_is_taken_once_and_only_if_kafka_would_have_it() {
    let (topics, journal) = in_memory();
    create(&topics, &journal, "a.b_c-9").unwrap();
    assert!(matches!(
        create(&topics, &journal, "a.b_c-9"),
        Err(TopicError::Exists(_))
    ));
    for name in ["", ".", "..", "a/b", "ü", "a b", &"x".repeat(250)] {
        assert!(
            matches!(
                create(&topics, &journal, name),
                Err(TopicError::InvalidName(_))
            ),
            "{name}"
        );
    }
}

#[test]
fn partitions_are_only_ever_added() {
    let (topics, journal) = in_memory();
    let topic = create(&topics, &journal, "events").unwrap();
    for total in [-1, 0, 1, 2, MAX_PARTITIONS_PER_TOPIC + 1] {
        assert!(matches!(
            topics.grow("events", total, false, &journal),
            Err(TopicError::InvalidPartitions(_))
        ));
    }
    topics.grow("events", 5, true, &journal).unwrap();
    assert_eq!(topic.partition_count(), 2, "that was only a question");
    topics.grow("events", 5, false, &journal).unwrap();
    assert_eq!(topic.partition_count(), 5);
}

#[test]
fn a_refused_setting_changes_nothing() {
    let (topics, journal) = in_memory();
    let topic = create(&topics, &journal, "events").unwrap();
    let set = |name: &'static str, value: &'static str| {
        topics.configure("events", false, &journal, |config| {
            config.insert(name.to_owned(), value.to_owned());
            Ok(())
        })
    };
    set("retention.ms", "1000").unwrap();
    assert!(matches!(
        set("retention.ms", "never"),
        Err(TopicError::InvalidConfig(_))
    ));
    assert!(matches!(
        set("colour", "red"),
        Err(TopicError::InvalidConfig(_))
    ));
    assert_eq!(topic.config()["retention.ms"], "1000");
    assert_eq!(topic.config().len(), 1);
}

#[test]
fn topics_with_files_are_as_they_were_after_a_restart_and_deleted_ones_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let home = || Home::Directory(folder.path().join("topics"), Fsync::OnRoll);
    prepare(&folder.path().join("topics")).unwrap();
    let (journal, _) = Journal::open(&path, Fsync::OnRoll).unwrap();
    let topics = Topics::new(home());
    let kept = create(&topics, &journal, "kept").unwrap();
    topics.grow("kept", 3, false, &journal).unwrap();
    let gone = create(&topics, &journal, "gone").unwrap();
    topics.delete("gone", &journal).unwrap();
    let again = create(&topics, &journal, "gone").unwrap();
    assert_ne!(gone.id, again.id);
    // What a crash leaves between making the files and writing it down.
    let unfinished = folder.path().join("topics").join(new_id().to_string());
    fs::create_dir(&unfinished).unwrap();
    topics.close().unwrap();
    drop((topics, journal));

    let (_, entries) = Journal::open(&path, Fsync::OnRoll).unwrap();
    let topics = Topics::new(home());
    topics.restore(&entries).unwrap();
    let names: Vec<_> = topics
        .all()
        .iter()
        .map(|topic| (topic.id, topic.partition_count()))
        .collect();
    assert_eq!(names, [(again.id, 2), (kept.id, 3)]);
    assert!(!unfinished.exists());
    let directories = fs::read_dir(folder.path().join("topics")).unwrap().count();
    assert_eq!(directories, 2);
}

#[test]
fn whoever_waits_for_a_partition_is_woken_and_then_forgotten() {
    let (topics, journal) = in_memory();
    create(&topics, &journal, "events").unwrap();
    let partition = topics.partition("events", 0).unwrap();
    let waiter = Arc::new(Notify::new());
    let waiting = partition.wait(&waiter);
    partition.wake();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let woken = |waiter: &Arc<Notify>| {
        let listening = async {
            tokio::time::timeout(std::time::Duration::from_millis(20), waiter.notified()).await
        };
        runtime.block_on(listening).is_ok()
    };
    assert!(woken(&waiter));
    drop(waiting);
    partition.wake();
    assert!(!woken(&waiter));
    assert!(lock(&partition.waiters).is_empty());
}

#[test]
fn a_full_budget_refuses_records_and_a_deleted_topic_gives_back() {
    let budget = MemoryBudget::new(64);
    let topics = Topics::new(Home::Memory(budget.clone()));
    let journal = Journal::in_memory();
    create(&topics, &journal, "events").unwrap();
    let partition = topics.partition("events", 0).unwrap();
    let refused = lock(&partition.log).append(b"no batch", Now::read());
    assert!(refused.is_err());
    assert_eq!(lock(&partition.log).end(), Offset(0));
    drop(partition);
    topics.delete("events", &journal).unwrap();
    assert_eq!(budget.used(), 0);
}
