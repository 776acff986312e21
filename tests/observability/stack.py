"""The stack of the compose file, as `scripts/services stack` runs it, and what its Prometheus knows."""

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
        """Four times the events that the file sends by default: panels of rare things must have data soon."""
        self.started = time.time()
        for line in self.services("up", "--free-ports", env=os.environ | {"EVENTS_PER_SECOND": "200"}).splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            self.variables[name] = shlex.split(value)[0]

    def down(self):
        self.services("down")

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
        """Addresses that the stack's processes listen on."""
        pids = {
            json.loads(record.read_text())["pid"] for record in (self.directory / "stack").glob("*/process.json")
        }
        listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
        return {
            line.split()[3]
            for line in listening.splitlines()
            if any(f"pid={pid}," in line for pid in pids)
        }
