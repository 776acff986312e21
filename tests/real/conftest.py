"""Servers for the suite: those the environment names (see `scripts/services env`), if they run, otherwise
Kafka and SeaweedFS, and MinIO if it is built already, are started for this run and stopped after it."""

import os
import shlex
import subprocess
import sys

import pytest
from floodmark import ROOT, Job
from readers import Store
from topics import Topics

SERVICES = str(ROOT / "scripts/services")
DIRECTORY = str(ROOT / "target/real-suite")
STORES = {"seaweedfs": "SEAWEEDFS_ENDPOINT", "minio": "MINIO_ENDPOINT"}
BUCKET = "rt-stream"


def services(*args, check=True):
    return subprocess.run([sys.executable, SERVICES, *args], stdout=subprocess.PIPE, text=True, check=check)


def named_servers_run():
    """Whether the environment names servers. A shell keeps the variables of `scripts/services start` after
    a `stop`: such servers are as good as none. Servers of somebody's own are taken at their word."""
    if "KAFKA_BROKERS" not in os.environ:
        return False
    directory = os.environ.get("FLOODMARK_SERVICES_DIR")
    return not directory or services("status", "--dir", directory, check=False).returncode == 0


@pytest.fixture(scope="session")
def servers():
    """Addresses and keys, as environment variables."""
    if named_servers_run():
        yield dict(os.environ)
        return
    built = services("cached", "minio", check=False).returncode == 0
    names = ["kafka", "seaweedfs", *(["minio"] if built else [])]
    try:
        found = {}
        for line in services("start", *names, "--dir", DIRECTORY).stdout.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            found[name] = shlex.split(value)[0]
        yield found
    finally:
        services("stop", "--dir", DIRECTORY)


@pytest.fixture(scope="session")
def topics(servers):
    return Topics(servers["KAFKA_BROKERS"])


def open_store(servers, name):
    endpoint = servers.get(STORES[name])
    if not endpoint:
        pytest.skip(f"{name} is not running: scripts/services start {name}")
    keys = servers["AWS_ACCESS_KEY_ID"], servers["AWS_SECRET_ACCESS_KEY"], servers["AWS_REGION"]
    directory = servers.get("FLOODMARK_SERVICES_DIR")
    if directory:
        services("bucket", name, BUCKET, "--dir", directory)
    return Store(name, f"s3://{BUCKET}", endpoint, *keys)


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
