"""The stack of the compose file, as `scripts/services stack` runs it, and what its Prometheus knows."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What a state of the stack may take to come about on a busy machine.
PATIENCE_SECONDS = 120
# A socket's state in /proc/net/tcp.
LISTENING = "0A"


def eventually(what, look, patience=PATIENCE_SECONDS):
    """Waits until `look` returns something; returns it."""
    deadline = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        time.sleep(0.25)


def get(url):
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Stack:
    """A stack with a directory of its own."""

    def __init__(self, directory):
        self.directory, self.variables, self.started = directory, {}, None

    def services(self, *args, env=None):
        command = [sys.executable, str(ROOT / "scripts/services"), "stack", *args, "--dir", str(self.directory)]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env).stdout

    def up(self):
        """From nothing, with four times the events that the file sends by default: panels of rare things must
        have data soon."""
        self.down("--volumes")
        self.started = time.time()
        for line in self.services("up", "--free-ports", env=os.environ | {"EVENTS_PER_SECOND": "200"}).splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            self.variables[name] = shlex.split(value)[0]

    def down(self, *args):
        self.services("down", *args)

    def url(self, service):
        return self.variables[f"{service.upper()}_URL"]

    def prometheus(self, path, **parameters):
        """The data of an answer of Prometheus's API; an error of its is one here."""
        query = urllib.parse.urlencode(parameters, doseq=True)
        status, body = get(f"{self.url('prometheus')}/api/v1/{path}?{query}")
        answer = json.loads(body)
        assert answer["status"] == "success", f"{path} {parameters}: {status} {answer.get('error')}"
        return answer["data"]

    def query(self, expression):
        """Samples of an instant query, without those that are not a number."""
        found = self.prometheus("query", query=expression)["result"]
        return [sample for sample in found if sample["value"][1] != "NaN"]

    def value(self, expression):
        """The one value of an expression, or None."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def addresses(self):
        """IPv4 and IPv6 addresses, as the kernel writes them, that the stack's processes listen on."""
        records = (self.directory / "stack").glob("*/process.json")
        sockets = set()
        for record in records:
            for descriptor in Path(f"/proc/{json.loads(record.read_text())['pid']}/fd").glob("*"):
                with contextlib.suppress(OSError):
                    sockets.add(os.readlink(descriptor))
        found = set()
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == LISTENING and f"socket:[{rest[5]}]" in sockets:
                    found.add(local)
        return found
