"""Real servers: those the environment names (see `scripts/services env`), if they run, otherwise servers
that are started for the occasion and stopped after it."""

import contextlib
import os
import shlex
import subprocess
import sys

from floodmark import ROOT
from readers import Store

SERVICES = str(ROOT / "scripts/services")
DIRECTORY = str(ROOT / "target/real-suite")
STORES = {"seaweedfs": "SEAWEEDFS_ENDPOINT", "minio": "MINIO_ENDPOINT"}
BUCKET = "rt-stream"


def services(*args, check=True):
    return subprocess.run([sys.executable, SERVICES, *args], stdout=subprocess.PIPE, text=True, check=check)


def is_built(name):
    return services("cached", name, check=False).returncode == 0


def named_servers_run():
    """Whether the environment names servers. A shell keeps the variables of `scripts/services start` after
    a `stop`: such servers are as good as none. Servers of somebody's own are taken at their word."""
    if "KAFKA_BROKERS" not in os.environ:
        return False
    directory = os.environ.get("FLOODMARK_SERVICES_DIR")
    return not directory or services("status", "--dir", directory, check=False).returncode == 0


@contextlib.contextmanager
def running(names, directory=DIRECTORY):
    """Addresses and keys, as environment variables."""
    if named_servers_run():
        yield dict(os.environ)
        return
    try:
        found = {}
        for line in services("start", *names, "--dir", directory).stdout.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            found[name] = shlex.split(value)[0]
        yield found
    finally:
        services("stop", "--dir", directory)


def open_store(servers, name):
    """An S3 server with the suite's bucket, or None if it does not run."""
    endpoint = servers.get(STORES[name])
    if not endpoint:
        return None
    keys = servers["AWS_ACCESS_KEY_ID"], servers["AWS_SECRET_ACCESS_KEY"], servers["AWS_REGION"]
    directory = servers.get("FLOODMARK_SERVICES_DIR")
    if directory:
        services("bucket", name, BUCKET, "--dir", directory)
    return Store(name, f"s3://{BUCKET}", endpoint, *keys)
