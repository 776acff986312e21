"""What a run says of itself over HTTP."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from demo import READY_SECONDS, Demo, taken

ROOT = Path(__file__).resolve().parents[2]
# Those that a system may not have.
OPTIONAL = {"floodmark_memory_limit_bytes"}
SUFFIXES = ("_bucket", "_sum", "_count")


class Served:
    """A demo and its address."""

    def __init__(self, process):
        self.process = process
        deadline = time.monotonic() + READY_SECONDS
        while not (found := re.search(r"dashboard=\"?(http://127\.0\.0\.1:\d+)", process.output())):
            assert process.process.poll() is None, f"ended by itself:\n{process.output()}"
            assert time.monotonic() < deadline, f"no address:\n{process.output()}"
            time.sleep(0.02)
        self.url = found.group(1)

    def open(self, path, **headers):
        return urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=30)

    def get(self, path, **headers):
        with self.open(path, **headers) as answer:
            return answer.read().decode()

    def metrics(self):
        """Series by name and labels as written."""
        lines = [line for line in self.get("/metrics").splitlines() if not line.startswith("#")]
        return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in lines)}

    def wait_until(self, holds, what):
        deadline = time.monotonic() + READY_SECONDS
        while not holds(status := json.loads(self.get("/api/status"))):
            assert time.monotonic() < deadline, f"never {what}: {status}"
            time.sleep(0.1)
        return status


@pytest.fixture
def served(tmp_path):
    process = Demo(tmp_path).start("--rate", "500", http="127.0.0.1:0")
    try:
        yield Served(process)
    finally:
        process.process.kill()
        process.process.wait()


def has_results(status):
    return (
        status["phase"] == "running"
        and status["checkpoint"]["completed"] >= 1
        and status["outputs"]["curated"]["rows"] > 0
        and status["outputs"]["alerts"]["rows"] > 0
        and status["dead_letter"]["rows"] > 0
    )


def promised():
    page = (ROOT / "docs/reference/metrics.md").read_text()
    return set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE))


def test_promtool_finds_nothing_wrong(served):
    promtool = shutil.which("promtool")
    if not promtool and not os.environ.get("CI"):
        pytest.skip("promtool is not installed (Debian: prometheus)")
    assert promtool, "promtool is not installed (Debian: prometheus)"
    served.wait_until(has_results, "results")
    text = served.get("/metrics")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, f"{done.stdout}{done.stderr}\n{text}"


def test_every_metric_of_the_reference_page_is_there_and_no_other(served):
    served.wait_until(has_results, "results")
    names = {series.split("{")[0] for series in served.metrics()}
    histograms = {name.removesuffix("_bucket") for name in names if name.endswith("_bucket")}
    found = {
        next((base for base in histograms for suffix in SUFFIXES if name == base + suffix), name) for name in names
    }
    assert found | OPTIONAL == promised() | OPTIONAL


def test_the_ledger_of_the_metrics_balances_and_is_what_the_run_prints(served):
    served.wait_until(has_results, "results")
    metrics = served.metrics()

    def ledger(output, kind):
        return metrics[f'floodmark_ledger_records_total{{source="sensor_events",output="{output}",class="{kind}"}}']

    def refused(kind):
        return metrics[f'floodmark_source_refused_records_total{{source="sensor_events",class="{kind}"}}']

    read = metrics['floodmark_source_records_total{source="sensor_events"}']
    for output in ("curated", "alerts"):
        classes = sum(ledger(output, kind) for kind in ("taken", "filtered", "late"))
        assert classes + refused("bad") + refused("null_time") == read
    output = served.process.end(signal.SIGINT)
    for name in ("curated", "alerts"):
        assert taken(output, name) >= ledger(name, "taken")


def test_status_readiness_and_events_agree(served):
    status = served.wait_until(has_results, "results")
    assert json.loads(served.get("/readyz")) == {"ready": True}
    assert status["ready"] and status["waiting_for"] == [] and status["failure"] is None
    assert [node["id"] for node in status["graph"]][0] == "source:sensor_events"
    kinds, statuses = set(), 0
    with served.open("/api/events") as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        event = {}
        while statuses < 3 or "alert" not in kinds:
            line = stream.readline().decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
                continue
            if event.get("event") == "status":
                assert json.loads(event["data"])["instance"] == status["instance"]
                statuses += 1
            elif event.get("event") == "sample":
                sample = json.loads(event["data"])
                assert str(sample["seq"]) == event["id"]
                kinds.add(sample["kind"])
            event = {}
    letters = json.loads(served.get("/api/samples?kind=dead_letter&limit=2"))
    assert letters and all(letter["row"]["topic"] == "sensor_events" for letter in letters)


def test_the_server_is_gone_when_the_run_is(served):
    served.wait_until(lambda status: status["phase"] == "running", "running")
    assert served.get("/healthz") == "ok\n"
    served.process.end(signal.SIGINT)
    with pytest.raises(urllib.error.URLError):
        served.get("/healthz")
