//! A simulated object store: whole objects, conditional puts and copies, behind a client whose requests
//! get lost, repeated, delayed and reordered. Files are so small here that each is put as a whole:
//! uploads in parts end before a manifest, so they add nothing to the protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use floodmark_engine::storage::Store;
use futures::FutureExt as _;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartId, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

use super::world::{InstanceId, Shared, World};

/// What is asked of a store.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) bucket: &'static str,
    pub(super) path: String,
    pub(super) ask: Ask,
}

#[derive(Debug, Clone)]
pub(super) enum Ask {
    Put {
        bytes: Bytes,
        only_if_absent: bool,
    },
    Get,
    List,
    Delete,
    /// To the request's path.
    Copy {
        from: String,
    },
}

/// What it answers.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Done,
    Found(Bytes),
    Listed(Vec<(String, u64)>),
    Absent,
    Exists,
    Unavailable,
}

#[derive(Default)]
pub(super) struct Bucket {
    pub(super) objects: BTreeMap<String, Bytes>,
}

impl World {
    /// Does what a request asks, and tells the observer what has changed.
    pub(super) fn serve(&mut self, from: InstanceId, request: &Request) -> Answer {
        let Request { bucket, path, ask } = request;
        let store = self.buckets.get_mut(bucket).expect("one of the two");
        let answer = match ask {
            Ask::Put {
                only_if_absent: true,
                ..
            } if store.objects.contains_key(path) => Answer::Exists,
            Ask::Put { bytes, .. } => {
                store.objects.insert(path.clone(), bytes.clone());
                self.observer.object_put(bucket, path, bytes);
                Answer::Done
            }
            Ask::Get => match store.objects.get(path) {
                Some(bytes) => Answer::Found(bytes.clone()),
                None => Answer::Absent,
            },
            Ask::List => {
                let listed = store.objects.range(path.clone()..);
                let listed = listed.take_while(|(name, _)| name.starts_with(path.as_str()));
                let listed = listed.map(|(name, bytes)| (name.clone(), bytes.len() as u64));
                Answer::Listed(listed.collect())
            }
            Ask::Delete => {
                store.objects.remove(path);
                self.observer.object_deleted(bucket, path);
                Answer::Done
            }
            Ask::Copy { from } => match store.objects.get(from).cloned() {
                Some(bytes) => {
                    let replaced = store.objects.insert(path.clone(), bytes.clone());
                    self.observer.file_visible(path, &bytes, replaced.as_ref());
                    Answer::Done
                }
                None => Answer::Absent,
            },
        };
        self.say(|| {
            format!(
                "i{} {bucket}/{path} {} -> {}",
                from.0,
                ask.verb(),
                answer.verb()
            )
        });
        answer
    }
}

impl Ask {
    fn verb(&self) -> String {
        match self {
            Self::Put { only_if_absent, .. } => format!("put (if absent: {only_if_absent})"),
            other => format!("{other:?}"),
        }
    }
}

impl Answer {
    fn verb(&self) -> String {
        match self {
            Self::Found(bytes) => format!("{} bytes", bytes.len()),
            Self::Listed(listed) => format!("{} objects", listed.len()),
            other => format!("{other:?}"),
        }
    }
}

/// A bucket as one instance reaches it.
pub(super) struct Client {
    world: Shared,
    instance: InstanceId,
    bucket: &'static str,
}

/// A store of production, over this world's bucket and time.
pub(super) fn store(world: &Shared, instance: InstanceId, bucket: &'static str) -> Store {
    let client = Client {
        world: world.clone(),
        instance,
        bucket,
    };
    let world = world.clone();
    let pause = move |time: Duration| {
        let world = world.clone();
        let ticks = time.as_millis() as u64;
        async move { world.wait(instance, ticks).await }.boxed()
    };
    Store::over(&format!("s3://{bucket}"), Arc::new(client), Arc::new(pause))
}

impl Client {
    fn request(&self, path: &Path, ask: Ask) -> Request {
        Request {
            bucket: self.bucket,
            path: path.to_string(),
            ask,
        }
    }

    async fn ask(&self, path: &Path, ask: Ask) -> Result<Answer> {
        let request = self.request(path, ask);
        match self.world.ask(self.instance, request).await {
            Answer::Absent => Err(Error::NotFound {
                path: path.to_string(),
                source: "absent".into(),
            }),
            Answer::Exists => Err(Error::AlreadyExists {
                path: path.to_string(),
                source: "exists".into(),
            }),
            Answer::Unavailable => Err(generic("no answer in time")),
            answer => Ok(answer),
        }
    }
}

fn generic(reason: &'static str) -> Error {
    Error::Generic {
        store: "simulated",
        source: reason.into(),
    }
}

fn unexpected(answer: &Answer) -> Error {
    panic!("an answer to another question: {answer:?}")
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of i{}", self.bucket, self.instance.0)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A time after everything here was written.
pub(super) fn later() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1)
}

fn meta(location: Path, size: u64) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: SystemTime::UNIX_EPOCH.into(),
        size,
        e_tag: None,
        version: None,
    }
}

fn put_result() -> PutResult {
    PutResult {
        e_tag: None,
        version: None,
    }
}

#[async_trait]
impl ObjectStore for Client {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let only_if_absent = opts.mode == PutMode::Create;
        let bytes = payload.into();
        let ask = Ask::Put {
            bytes,
            only_if_absent,
        };
        self.ask(location, ask).await.map(|_| put_result())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let bytes = match self.ask(location, Ask::Get).await? {
            Answer::Found(bytes) => bytes,
            other => return Err(unexpected(&other)),
        };
        let size = bytes.len() as u64;
        let range = match options.range {
            Some(GetRange::Suffix(wanted)) => size.saturating_sub(wanted)..size,
            None => 0..size,
            Some(other) => panic!("the engine asks for no {other:?}"),
        };
        let part = bytes.slice(range.start as usize..range.end as usize);
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::once(async { Ok(part) }).boxed()),
            meta: meta(location.clone(), size),
            range,
            attributes: Attributes::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let client = Self {
            world: self.world.clone(),
            ..*self
        };
        locations
            .then(move |location| {
                let location = location.expect("a path");
                let request = client.request(&location, Ask::Delete);
                let (world, instance) = (client.world.clone(), client.instance);
                async move {
                    match world.ask(instance, request).await {
                        Answer::Done => Ok(location),
                        _ => Err(generic("no answer in time")),
                    }
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.map_or(String::new(), |prefix| format!("{prefix}/"));
        let request = Request {
            bucket: self.bucket,
            path: prefix,
            ask: Ask::List,
        };
        let (world, instance) = (self.world.clone(), self.instance);
        stream::once(async move {
            match world.ask(instance, request).await {
                Answer::Listed(listed) => listed
                    .into_iter()
                    .map(|(name, size)| Ok(meta(Path::from(name), size)))
                    .collect(),
                _ => vec![Err(generic("no answer in time"))],
            }
        })
        .flat_map(stream::iter)
        .boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unreachable!("the engine does not list by level")
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("the engine drives uploads by their ids")
    }

    async fn copy_opts(&self, from: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        let ask = Ask::Copy {
            from: from.to_string(),
        };
        self.ask(to, ask).await.map(drop)
    }
}

/// Why no upload is begun.
const SMALL: &str = "files of a few bytes are put whole";

#[async_trait]
impl MultipartStore for Client {
    async fn create_multipart(&self, _: &Path) -> Result<MultipartId> {
        unreachable!("{SMALL}")
    }

    async fn put_part(&self, _: &Path, _: &MultipartId, _: usize, _: PutPayload) -> Result<PartId> {
        unreachable!("{SMALL}")
    }

    async fn complete_multipart(
        &self,
        _: &Path,
        _: &MultipartId,
        _: Vec<PartId>,
    ) -> Result<PutResult> {
        unreachable!("{SMALL}")
    }

    async fn abort_multipart(&self, _: &Path, _: &MultipartId) -> Result<()> {
        unreachable!("{SMALL}")
    }
}
