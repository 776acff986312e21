"""Servers for the suite: those the environment names (see `scripts/services env`), if they run, otherwise
Kafka and SeaweedFS, and MinIO if it is built already, are started for this run and stopped after it."""

import pytest
import servers as real_servers
from floodmark import Job
from readers import Store
from servers import STORES
from topics import Topics


@pytest.fixture(scope="session")
def servers():
    """Addresses and keys, as environment variables."""
    names = ["kafka", "seaweedfs", *(["minio"] if real_servers.is_built("minio") else [])]
    with real_servers.running(names) as found:
        yield found


@pytest.fixture(scope="session")
def topics(servers):
    return Topics(servers["KAFKA_BROKERS"])


def open_store(servers, name):
    store = real_servers.open_store(servers, name)
    if store is None:
        pytest.skip(f"{name} is not running: scripts/services start {name}")
    return store


@pytest.fixture(params=list(STORES))
def store(request, servers):
    """Each S3 server in turn."""
    return open_store(servers, request.param)


@pytest.fixture
def one_store(servers):
    """An S3 server, for tests in which it does not matter which."""
    return open_store(servers, "seaweedfs" if servers.get("SEAWEEDFS_ENDPOINT") else "minio")


@pytest.fixture
def local_store(tmp_path):
    return Store("the local file system", f"file://{tmp_path}")


@pytest.fixture
def make_job(tmp_path, topics):
    """Makes jobs with topics and paths of their own."""

    def make(store):
        folder = tmp_path / "job"
        folder.mkdir(exist_ok=True)
        return Job(folder, topics, store, store.root)

    return make
