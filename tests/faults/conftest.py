"""Servers of the suite's own, because it stops them. The model, the checks and the readers are those of
the suite on real servers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# After this directory: both have a module of servers.
sys.path.insert(1, str(ROOT / "tests/real"))
sys.path.insert(1, str(ROOT / "scripts"))

from faulty_job import FaultyJob  # noqa: E402
from readers import Store  # noqa: E402
from s3_proxy import S3Proxy  # noqa: E402
from servers import Servers, free_port  # noqa: E402
from topics import Topics  # noqa: E402

# Kept between runs if it is named; else made for this run and stopped after it.
KEPT = os.environ.get("FLOODMARK_FAULTS_SERVICES")
BUCKET = "faults"


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; runs with FLOODMARK_FAULTS_LONG=1")
    config.addinivalue_line("markers", "ci: part of what every change has to pass")


def pytest_collection_modifyitems(items):
    if os.environ.get("FLOODMARK_FAULTS_LONG") == "1":
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes minutes: FLOODMARK_FAULTS_LONG=1 runs it"))


@pytest.fixture(scope="session")
def all_servers():
    servers = Servers(Path(KEPT or ROOT / "target/fault-suite").resolve())
    try:
        servers.start_all()
        yield servers
    finally:
        if not KEPT:
            servers.stop_all()


@pytest.fixture
def servers(all_servers):
    """All of them run, whatever the test before did."""
    all_servers.start_all()
    return all_servers


@pytest.fixture
def topics(servers):
    return Topics(servers.brokers)


@pytest.fixture(params=["seaweedfs", "minio"])
def s3(request, servers):
    """Each S3 server in turn."""
    return open_store(servers, request.param)


@pytest.fixture
def one_s3(servers):
    """An S3 server, for tests in which it does not matter which."""
    return open_store(servers, "seaweedfs")


def open_store(servers, name):
    if name not in servers.names:
        pytest.skip(f"{name} is not built: scripts/services install {name}")
    servers.bucket(name, BUCKET)
    return Store(name, f"s3://{BUCKET}", servers.endpoint(name), *servers.keys)


@pytest.fixture
def proxy():
    """Made by the test for its store; stopped after it."""
    made = []

    def make(store):
        made.append(S3Proxy(store.endpoint))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def local_store(tmp_path):
    return Store("the local file system", f"file://{tmp_path}")


@pytest.fixture
def make_job(tmp_path, topics):
    """Makes jobs with topics and paths of their own; what a test leaves running is ended."""
    jobs = []

    def make(store, proxied=None, **replacements):
        folder = tmp_path / f"job-{len(jobs)}"
        folder.mkdir()
        job = FaultyJob(folder, topics, store, store.root, replacements)
        if proxied:
            job.env["AWS_ENDPOINT_URL"] = proxied.endpoint
        jobs.append(job)
        return job

    yield make
    for job in jobs:
        job.end_all()


@pytest.fixture
def embedded_broker(tmp_path):
    """Starts the embedded broker with flags of the test's choice; returns its address."""
    from floodmark import binary

    processes = []

    def start(*flags):
        address = f"127.0.0.1:{free_port()}"
        with open(tmp_path / "broker.log", "w") as log:
            command = [binary(), "broker", "--listen", address, *flags]
            processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        servers_answer(address, processes[-1], tmp_path / "broker.log")
        return address

    yield start
    for process in processes:
        process.terminate()
        process.wait(30)


def servers_answer(address, process, log):
    from waiting import wait_until

    def answers():
        assert process.poll() is None, log.read_text()
        return bool(Topics(address).admin.list_topics(timeout=2).brokers)

    wait_until(f"{address} answers", answers, 30)
