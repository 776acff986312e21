//! What every store promises, run against each of them.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{Published, PutNew, Staged, StorageError, Store};

/// Runs everything in an empty store.
pub(super) async fn every_promise_holds(store: &Store) {
    a_new_object_is_created_once(store).await;
    an_object_is_replaced_read_and_deleted(store).await;
    a_directory_is_listed_by_name_and_nothing_beside_it(store).await;
    names_keep_the_characters_of_hive_directories(store).await;
    staged_bytes_show_only_when_published_and_publishing_repeats(store).await;
    big_and_empty_objects_are_staged_whole(store).await;
    discarded_bytes_never_show_and_their_loss_is_reported(store).await;
    an_unfinished_writer_leaves_nothing(store).await;
    publishing_never_replaces_other_bytes(store).await;
    publishing_that_broke_off_is_finished_by_the_next(store).await;
    what_was_published_and_removed_does_not_come_back(store).await;
    staged_work_survives_a_manifest(store).await;
    work_of_earlier_builds_is_taken_up_only_if_it_is_published(store).await;
    leftovers_of_dead_instances_are_removed_but_not_what_a_manifest_lists(store).await;
}

pub(super) async fn staged(store: &Store, name: &str, bytes: Bytes) -> Staged {
    let mut writer = store.stage(name).await.expect("stage");
    writer.write(bytes).await.expect("write");
    writer.finish().await.expect("finish")
}

async fn names(store: &Store, directory: &str) -> Vec<String> {
    let entries = store.list(directory).await.expect("list");
    entries.into_iter().map(|entry| entry.name).collect()
}

async fn text(store: &Store, name: &str) -> Option<Bytes> {
    store.get(name).await.expect("get")
}

async fn a_new_object_is_created_once(store: &Store) {
    let put = |bytes: &'static str| store.put_new("new/one", Bytes::from(bytes));
    assert_eq!(put("first").await.expect("put"), PutNew::Created);
    assert_eq!(put("second").await.expect("put"), PutNew::Exists);
    assert_eq!(
        put("first").await.expect("put"),
        PutNew::Created,
        "our own write, retried"
    );
    assert_eq!(text(store, "new/one").await, Some(Bytes::from("first")));
    store
        .require_conditional_put("token")
        .await
        .expect("conditions are honoured");
    assert_eq!(names(store, "").await, ["new/one"]);

    let racers: Vec<_> = (0..8)
        .map(|racer| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .put_new("new/race", Bytes::from(format!("racer {racer}")))
                    .await
            })
        })
        .collect();
    let mut winners = 0;
    for racer in racers {
        winners += usize::from(racer.await.expect("join").expect("put") == PutNew::Created);
    }
    assert_eq!(winners, 1);
}

async fn an_object_is_replaced_read_and_deleted(store: &Store) {
    assert_eq!(text(store, "plain").await, None);
    store.put("plain", Bytes::from("one")).await.expect("put");
    store.put("plain", Bytes::from("two")).await.expect("put");
    assert_eq!(text(store, "plain").await, Some(Bytes::from("two")));
    store.put("plain", Bytes::new()).await.expect("put nothing");
    assert_eq!(text(store, "plain").await, Some(Bytes::new()));
    store.delete("plain").await.expect("delete");
    store.delete("plain").await.expect("delete what is gone");
    assert_eq!(text(store, "plain").await, None);
}

async fn a_directory_is_listed_by_name_and_nothing_beside_it(store: &Store) {
    for name in ["list/b", "list/a/2", "list/a/1", "listen/c"] {
        store.put(name, Bytes::from("12345")).await.expect("put");
    }
    assert_eq!(
        names(store, "list").await,
        ["list/a/1", "list/a/2", "list/b"]
    );
    assert_eq!(
        names(store, "list/").await,
        ["list/a/1", "list/a/2", "list/b"]
    );
    assert_eq!(names(store, "nowhere").await, Vec::<String>::new());
    let entry = store.list("list/a").await.expect("list").remove(0);
    assert_eq!(entry.size, 5);
    let age = SystemTime::now()
        .duration_since(entry.modified)
        .unwrap_or_default();
    assert!(age < Duration::from_mins(1), "{age:?}");
    for name in ["list/b", "list/a/2", "list/a/1", "listen/c"] {
        store.delete(name).await.expect("delete");
    }
}

async fn names_keep_the_characters_of_hive_directories(store: &Store) {
    let name = "hive/at=2025-08-17 12%3A00/città=#1+x&y/part-0.parquet";
    staged_and_published(store, name).await;
    assert_eq!(names(store, "hive").await, [name]);
    assert_eq!(text(store, name).await, Some(Bytes::from("rows")));
    store.delete(name).await.expect("delete");
    for outside in ["../x", "a/../../x", "a//b", ""] {
        assert!(
            store.put(outside, Bytes::new()).await.is_err(),
            "{outside:?}"
        );
    }
}

async fn staged_and_published(store: &Store, name: &str) -> Staged {
    let staged = staged(store, name, Bytes::from("rows")).await;
    assert_eq!(
        store.publish(&staged).await.expect("publish"),
        Published::Now
    );
    staged
}

async fn staged_bytes_show_only_when_published_and_publishing_repeats(store: &Store) {
    let staged = staged(store, "stage/day=1/a.parquet", Bytes::from("rows")).await;
    assert_eq!(staged.size, 4);
    assert_eq!(names(store, "stage").await, Vec::<String>::new());
    assert_eq!(text(store, &staged.name).await, None);

    assert_eq!(
        store.publish(&staged).await.expect("publish"),
        Published::Now
    );
    assert_eq!(names(store, "stage").await, ["stage/day=1/a.parquet"]);
    for _ in 0..2 {
        assert_eq!(
            store.publish(&staged).await.expect("again"),
            Published::Before
        );
    }
    store
        .discard(&staged)
        .await
        .expect("nothing left to discard");
    assert_eq!(text(store, &staged.name).await, Some(Bytes::from("rows")));
}

async fn big_and_empty_objects_are_staged_whole(store: &Store) {
    let empty = store.stage("stage/empty").await.expect("stage");
    let empty = empty.finish().await.expect("finish");
    store.publish(&empty).await.expect("publish");
    assert_eq!(text(store, "stage/empty").await, Some(Bytes::new()));
    assert_eq!(
        store.publish(&empty).await.expect("again"),
        Published::Before
    );

    let mut writer = store.stage("stage/big").await.expect("stage");
    let mut wanted = Vec::new();
    for chunk in 0..23_u8 {
        let bytes: Vec<u8> = (0..1_000_003_u32)
            .map(|i| (i % 251) as u8 ^ chunk)
            .collect();
        wanted.extend_from_slice(&bytes);
        writer.write(Bytes::from(bytes)).await.expect("write");
    }
    let big = writer.finish().await.expect("finish");
    assert_eq!(big.size, wanted.len() as u64);
    store.publish(&big).await.expect("publish");
    let read = text(store, "stage/big").await.expect("there");
    assert!(read == wanted, "23 MB read back differ");
    assert_eq!(store.publish(&big).await.expect("again"), Published::Before);
    store.delete("stage/big").await.expect("delete");
}

async fn discarded_bytes_never_show_and_their_loss_is_reported(store: &Store) {
    let staged = staged(store, "discard/a", Bytes::from("rows")).await;
    store.discard(&staged).await.expect("discard");
    store.discard(&staged).await.expect("discard what is gone");
    assert_eq!(names(store, "discard").await, Vec::<String>::new());
    let lost = store
        .publish(&staged)
        .await
        .expect_err("nothing to publish");
    assert!(matches!(lost, StorageError::Lost { .. }), "{lost:?}");
    assert!(lost.to_string().contains("discard/a"), "{lost}");
}

async fn an_unfinished_writer_leaves_nothing(store: &Store) {
    let mut writer = store.stage("dropped/a").await.expect("stage");
    writer
        .write(Bytes::from(vec![7; 9 << 20]))
        .await
        .expect("write");
    drop(writer);
    assert_eq!(names(store, "dropped").await, Vec::<String>::new());
    let soon = SystemTime::now() + Duration::from_hours(1);
    let left = store
        .clean_leftovers("dropped", soon, |_| true)
        .await
        .expect("clean");
    assert_eq!(left, 0);
}

async fn publishing_never_replaces_other_bytes(store: &Store) {
    for other in ["else", "something longer"] {
        let staged = staged(store, "taken/a", Bytes::from("rows")).await;
        store.put("taken/a", Bytes::from(other)).await.expect("put");
        let lost = store.publish(&staged).await.expect_err("the name is taken");
        assert!(matches!(lost, StorageError::Lost { .. }), "{lost:?}");
        assert_eq!(text(store, "taken/a").await, Some(Bytes::from(other)));
        store.discard(&staged).await.expect("discard");
        store.delete("taken/a").await.expect("delete");
    }
}

async fn publishing_that_broke_off_is_finished_by_the_next(store: &Store) {
    let staged = staged(store, "broken/a", Bytes::from("rows")).await;
    store
        .put(&staged.name, Bytes::from("rows"))
        .await
        .expect("shown, and the hidden one is there");
    assert_eq!(
        store.publish(&staged).await.expect("publish"),
        Published::Before
    );
    assert_eq!(leftovers(store, "broken").await, Vec::<String>::new());
    assert_eq!(names(store, "broken").await, ["broken/a"]);
}

async fn what_was_published_and_removed_does_not_come_back(store: &Store) {
    let staged = staged_and_published(store, "removed/a").await;
    store.delete("removed/a").await.expect("delete");
    let lost = store.publish(&staged).await.expect_err("nothing is left");
    assert!(matches!(lost, StorageError::Lost { .. }), "{lost:?}");
    assert_eq!(names(store, "removed").await, Vec::<String>::new());
}

async fn leftovers(store: &Store, directory: &str) -> Vec<String> {
    let soon = SystemTime::now() + Duration::from_hours(1);
    let found = store.leftovers(directory, soon, |_| true).await;
    let found = found.expect("leftovers");
    found.into_iter().map(|entry| entry.name).collect()
}

async fn leftovers_of_dead_instances_are_removed_but_not_what_a_manifest_lists(store: &Store) {
    let listed = staged(store, "left/day=1/listed.parquet", Bytes::from("rows")).await;
    staged(store, "left/day=1/forgotten.parquet", Bytes::from("rows")).await;
    staged(store, "leftover/c", Bytes::from("rows")).await;
    staged_and_published(store, "left/day=1/visible.parquet").await;
    let found = leftovers(store, "left").await;
    assert_eq!(found.len(), 2, "{found:?}");
    let told = found
        .iter()
        .all(|name| name.contains("day=1/") && name.ends_with(".staged"));
    assert!(
        told,
        "no pattern for Parquet files takes them for one: {found:?}"
    );
    let clean = async |before| {
        let name = listed.name.clone();
        store
            .clean_leftovers("left", before, move |hidden| hidden != name)
            .await
            .expect("clean")
    };
    let hour = Duration::from_hours(1);
    assert_eq!(clean(SystemTime::now() - hour).await, 0);
    assert_eq!(clean(SystemTime::now() + hour).await, 1);
    assert_eq!(
        store.publish(&listed).await.expect("publish"),
        Published::Now
    );
    assert_eq!(names(store, "left").await.len(), 2);
    assert_eq!(leftovers(store, "leftover").await.len(), 1);
    let all = store.clean_leftovers("", SystemTime::now() + hour, |_| true);
    assert_eq!(all.await.expect("clean"), 1);
}

async fn work_of_earlier_builds_is_taken_up_only_if_it_is_published(store: &Store) {
    let mut described =
        serde_json::to_value(staged_and_published(store, "earlier/a").await).expect("serialize");
    described["place"] = serde_json::json!({ "upload": { "id": "u", "parts": ["\"tag\""] } });
    let earlier: Staged = serde_json::from_value(described).expect("deserialize");
    assert_eq!(
        store.publish(&earlier).await.expect("is there"),
        Published::Before
    );
    store.delete("earlier/a").await.expect("delete");
    let refused = store.publish(&earlier).await.expect_err("not published");
    assert!(
        refused.to_string().contains("Start the older build once"),
        "{refused}"
    );
}

async fn staged_work_survives_a_manifest(store: &Store) {
    let staged = staged(store, "manifest/a", Bytes::from("rows")).await;
    let text = serde_json::to_string(&staged).expect("serialize");
    let read: Staged = serde_json::from_str(&text).expect("deserialize");
    assert_eq!(read, staged);
    assert_eq!(store.publish(&read).await.expect("publish"), Published::Now);
    store.delete("manifest/a").await.expect("delete");
}
