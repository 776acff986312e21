use std::path::Path;
use std::time::Instant;

use floodmark_pipeline::Secret;

use super::conformance::{every_promise_holds, staged};
use super::*;
use crate::servers::bucket;

async fn local(path: &Path) -> Store {
    let location = Location::Local(path.to_owned());
    Store::open(&location, &Storage::default())
        .await
        .expect("a temporary directory opens")
}

fn files_under(path: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.path().is_dir() {
            files.extend(files_under(&entry.path()));
        } else {
            files.push(entry.file_name().into_string().expect("Unicode"));
        }
    }
    files
}

fn hint_of(error: &StorageError) -> &str {
    match error {
        StorageError::Misconfigured { hint, .. } => hint,
        other => panic!("not for somebody to change: {other:?}"),
    }
}

#[tokio::test]
async fn every_promise_holds_in_memory() {
    every_promise_holds(&Store::in_memory()).await;
}

#[tokio::test]
async fn every_promise_holds_on_a_local_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = local(&directory.path().join("made/for/it")).await;
    every_promise_holds(&store).await;
    let hidden: Vec<_> = files_under(directory.path())
        .into_iter()
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(hidden, Vec::<String>::new(), "no hidden file is left");
}

#[tokio::test]
async fn hidden_files_are_no_parquet_files_to_any_pattern() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = local(directory.path()).await;
    let staged = staged(&store, "day=1/a.parquet", Bytes::from("rows")).await;
    let hidden = files_under(directory.path());
    assert_eq!(hidden.len(), 1);
    assert!(hidden[0].starts_with(".a.parquet.") && !hidden[0].ends_with(".parquet"));
    store.publish(&staged).await.expect("publish");
    assert_eq!(files_under(directory.path()), ["a.parquet"]);
}

#[tokio::test]
async fn a_crash_between_link_and_unlink_is_repaired_by_publishing_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = local(directory.path()).await;
    let staged = staged(&store, "a.parquet", Bytes::from("rows")).await;
    let hidden = directory.path().join(&files_under(directory.path())[0]);
    std::fs::hard_link(hidden, directory.path().join("a.parquet")).expect("link");
    assert_eq!(
        store.publish(&staged).await.expect("publish"),
        Published::Before
    );
    assert_eq!(files_under(directory.path()), ["a.parquet"]);
}

#[tokio::test]
async fn what_a_start_that_died_wrote_to_prove_that_it_can_is_a_leftover() {
    let store = Store::in_memory();
    let probe = "_staged/_probe-0123-copied.staged";
    store.put(probe, Bytes::from("0123")).await.expect("put");
    let soon = SystemTime::now() + Duration::from_hours(1);
    let removed = store.clean_leftovers("", soon, |_| false).await;
    assert_eq!(removed.expect("clean"), 1);
    assert_eq!(store.get(probe).await.expect("get"), None);
}

#[tokio::test]
async fn a_path_that_is_a_file_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    std::fs::write(&file, "text").expect("write");
    for path in [file.clone(), file.join("below")] {
        let location = Location::Local(path);
        let error = Store::open(&location, &Storage::default())
            .await
            .expect_err("no directory");
        assert!(hint_of(&error).contains("another path"), "{error}");
        assert!(error.to_string().contains(&location.to_string()), "{error}");
    }
}

#[tokio::test]
async fn an_unreachable_server_is_a_clear_error_in_time() {
    let location = Location::S3 {
        bucket: "b".to_owned(),
        prefix: "p".to_owned(),
    };
    let options = Storage {
        endpoint: Some("http://127.0.0.1:9".to_owned()),
        access_key_id: Some(Secret::new("the-id")),
        secret_access_key: Some(Secret::new("the-secret")),
        ..Storage::default()
    };
    let start = Instant::now();
    let error = Store::open(&location, &options)
        .await
        .expect_err("nobody listens there");
    assert!(start.elapsed() < PROBE_TIMEOUT);
    assert!(hint_of(&error).contains("http://127.0.0.1:9"), "{error}");
    assert!(error.to_string().contains("s3://b/p"), "{error}");
    assert!(!format!("{error:?}").contains("the-secret"));
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_clear_error_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
    let location = Location::S3 {
        bucket: "b".to_owned(),
        prefix: String::new(),
    };
    let options = Storage {
        endpoint: Some(endpoint.clone()),
        access_key_id: Some(Secret::new("id")),
        secret_access_key: Some(Secret::new("secret")),
        ..Storage::default()
    };
    let start = Instant::now();
    let error = Store::open(&location, &options)
        .await
        .expect_err("it never answers");
    assert!(start.elapsed() < PROBE_TIMEOUT + Duration::from_secs(2));
    assert!(hint_of(&error).contains(&endpoint), "{error}");
}

#[tokio::test]
async fn every_promise_holds_on_a_real_server() {
    let Some((bucket, options)) = bucket() else {
        return;
    };
    let prefix = format!("storage/{:016x}", rand::random::<u64>());
    let location = Location::S3 { bucket, prefix };
    let store = Store::open(&location, &options).await.expect("open");
    every_promise_holds(&store).await;
    for entry in store.list("").await.expect("list") {
        store.delete(&entry.name).await.expect("delete");
    }
}

#[tokio::test]
async fn a_wrong_bucket_and_wrong_keys_on_a_real_server_say_what_to_do() {
    let Some((bucket, options)) = bucket() else {
        return;
    };
    let opened = async |bucket: &str, options: &Storage| {
        let location = Location::S3 {
            bucket: bucket.to_owned(),
            prefix: "p".to_owned(),
        };
        let error = Store::open(&location, options)
            .await
            .expect_err("a wrong option");
        let text = error.to_string();
        assert!(text.contains(&format!("s3://{bucket}/p")), "{text}");
        assert!(
            !text.contains("not-the-secret") && !text.contains("http://127"),
            "{text}"
        );
        hint_of(&error).to_owned()
    };
    assert!(
        opened("no-such-bucket-here", &options)
            .await
            .contains("Create the bucket")
    );
    let id = Storage {
        access_key_id: Some(Secret::new("nobody")),
        ..options.clone()
    };
    assert!(opened(&bucket, &id).await.contains("AWS_ACCESS_KEY_ID"));
    let secret = Storage {
        secret_access_key: Some(Secret::new("not-the-secret")),
        ..options
    };
    assert!(
        opened(&bucket, &secret)
            .await
            .contains("AWS_SECRET_ACCESS_KEY")
    );
}
