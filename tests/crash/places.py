"""Where pipelines are killed: a broker and a store, by a name such as `kafka-minio`."""

import contextlib
import uuid
from pathlib import Path

import servers
from embedded import Broker
from floodmark import ROOT, Job
from readers import Store
from topics import Topics

BROKERS = ("embedded", "kafka")
STORES = ("local", "seaweedfs", "minio")
# What is tested by default: nothing but ourselves, and two real stores under a real broker.
PLACES = ("embedded-local", "kafka-seaweedfs", "kafka-minio")
DIRECTORY = str(ROOT / "target/crash-suite")


class Missing(Exception):
    """A place needs a server that is not there."""


class Servers:
    """Real servers, started when the first place needs one."""

    def __init__(self):
        self.stack = contextlib.ExitStack()
        self.found = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def environment(self):
        if self.found is None:
            names = ["kafka", "seaweedfs", *(["minio"] if servers.is_built("minio") else [])]
            self.found = self.stack.enter_context(servers.running(names, DIRECTORY))
        return self.found

    def place(self, name, folder):
        broker, _, store = name.partition("-")
        if broker not in BROKERS or store not in STORES:
            raise Missing(f"no place {name}: it is one of {', '.join(BROKERS)}, a dash, one of {', '.join(STORES)}")
        folder = Path(folder) / f"{name}-{uuid.uuid4().hex[:6]}"
        folder.mkdir(parents=True)
        if store == "local":
            opened = Store("the local file system", f"file://{folder}/store")
        else:
            opened = servers.open_store(self.environment(), store)
            if opened is None:
                raise Missing(f"{store} does not run: scripts/services start {store}")
        if broker == "embedded":
            return Place(name, folder, opened, broker=Broker(folder, durable=True).start())
        return Place(name, folder, opened, brokers=self.environment()["KAFKA_BROKERS"])


class Place:
    """A broker and a store. `broker` is the embedded one, as a process that may be killed."""

    def __init__(self, name, folder, store, broker=None, brokers=None):
        self.name, self.folder, self.store, self.broker = name, folder, store, broker
        self.topics = Topics(broker.address if broker else brokers)
        self.made = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Its client would go on looking for a broker that is gone.
        self.topics.admin = None
        if self.broker:
            ended = self.broker.process.poll()
            self.broker.stop()
            assert ended is None, f"floodmark broker ended by itself with {ended}:\n{self.broker.output()}"

    def job(self):
        """A job with topics and paths of its own."""
        self.made += 1
        folder = self.folder / f"job-{self.made}"
        folder.mkdir()
        return Job(folder, self.topics, self.store, self.store.root)

    def root(self):
        """The directory below which files are effects; none where the store is no directory."""
        return "" if self.store.endpoint else self.store.plain_path(self.store.root)

    def forget(self, job):
        """Deletes a job's topics: thousands of partitions slow any broker down."""
        for future in self.topics.admin.delete_topics([job.source, job.alerts, job.dead]).values():
            future.result()
