"""The suite's own servers, by `scripts/services`: they keep their addresses when stopped and started."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from service_lib.s3 import ACCESS_KEY, OWNER_KEYS, REGION, SECRET_KEY
from service_lib.servers import SERVICES

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/services")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cached(name):
    return subprocess.run([sys.executable, SCRIPT, "cached", name], check=False).returncode == 0


class Servers:
    """Kafka, SeaweedFS and, if it is built, MinIO."""

    keys = (ACCESS_KEY, SECRET_KEY, REGION)

    def __init__(self, directory):
        self.directory = directory
        self.names = ["kafka", "seaweedfs", *(["minio"] if cached("minio") else [])]

    def script(self, command, *names):
        args = [sys.executable, SCRIPT, command, *names, "--dir", str(self.directory)]
        subprocess.run(args, stdout=subprocess.PIPE, check=True)

    def start_all(self):
        """Those that do not run, and waits until each of them answers."""
        self.script("start", *self.names)

    def stop_all(self):
        self.script("stop")

    def start(self, name):
        self.script("start", name)

    def stop(self, name):
        """A proper stop, as for an upgrade."""
        self.script("stop", name)

    def kill(self, name):
        """As when its machine loses power."""
        pid = self.record(name).alive()["pid"]
        os.kill(pid, signal.SIGKILL)

    def record(self, name):
        return SERVICES[name](self.directory).record

    def ports(self, name):
        return self.record(name).read()["ports"]

    @property
    def brokers(self):
        return f"127.0.0.1:{self.ports('kafka')['kafka']}"

    def endpoint(self, name):
        return f"http://127.0.0.1:{self.ports(name)[name]}"

    def owner_keys(self, name):
        return OWNER_KEYS if name == "seaweedfs" else (ACCESS_KEY, SECRET_KEY)

    def bucket(self, name, bucket):
        args = [sys.executable, SCRIPT, "bucket", name, bucket, "--dir", str(self.directory)]
        subprocess.run(args, stdout=subprocess.PIPE, check=True)
