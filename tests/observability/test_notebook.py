"""The notebook: committed without outputs, content with what a real run has written, and not with what is
wrong in it."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from floodmark import Job, binary
from readers import Store
from topics import Topics

NOTEBOOK = "notebooks/stream_checks.ipynb"
NOTEBOOK_SECONDS = 240
MIX = ("--anomalies", 0.01, "--late", 0.002, "--bad", 0.001, "--disorder", "2s")


@pytest.fixture
def render(root, tmp_path):
    """Runs the notebook as a user does; returns exit code, output and page."""

    def run(results, environment=None, **parameters):
        page = tmp_path / "page.html"
        command = [sys.executable, str(root / "scripts/render-notebook"), "--results", str(results), "--out", str(page)]
        bare = {name: value for name, value in os.environ.items() if name != "KAFKA_BROKERS"}
        done = subprocess.run(
            command,
            env=bare | (environment or {}) | parameters,
            capture_output=True,
            text=True,
            timeout=NOTEBOOK_SECONDS,
        )
        return done.returncode, done.stdout + done.stderr, page.read_text() if page.exists() else ""

    return run


@pytest.fixture(scope="module")
def local_results(tmp_path_factory):
    """What the demo leaves behind; a copy, so that a test may spoil it."""
    folder = tmp_path_factory.mktemp("demo") / "floodmark-data"
    command = [binary(), "demo", "--listen", "127.0.0.1:0", "--http", "off", "--for", "20s", "--data", str(folder)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder


@pytest.fixture(scope="module")
def bucket_results(stack, tmp_path_factory):
    """What a pipeline has written to the stack's bucket, and its topics."""
    topics = Topics(stack.variables["KAFKA_BROKERS"])
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
    store = Store("the stack's store", "s3://rt-stream", *(stack.variables[name] for name in names))
    job = Job(tmp_path_factory.mktemp("job"), topics, store, store.root)
    job.create_topics()
    job.generate("--rate", "max", "--count", 50_000, "--devices", 20, "--interval", "400ms", *MIX)
    job.run_until_caught_up()
    return job


def test_it_is_committed_without_outputs(root):
    cells = json.loads((root / NOTEBOOK).read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []


def test_it_passes_on_what_the_demo_leaves_behind(render, local_results):
    code, said, page = render(local_results)
    assert code == 0, said
    assert "6 checks passed" in said
    assert "data:image/png" in page


def test_it_passes_on_a_bucket_and_counts_the_alerts_of_the_topic(render, bucket_results, stack_environment):
    code, said, page = render(bucket_results.base, stack_environment, FLOODMARK_ALERTS=bucket_results.alerts)
    assert code == 0, said
    assert "8 checks passed" in said
    assert "alerts are as frequent as expected: passed" in said
    assert "data:image/png" in page


def spoil(results, how, tmp_path):
    """A copy of results with something wrong in it."""
    copy = tmp_path / "results"
    shutil.copytree(results / "curated", copy / "curated")
    file = max((copy / "curated").rglob("*.parquet"), key=lambda path: path.stat().st_size)
    if how == "a file twice":
        shutil.copy(file, file.with_name("again.parquet"))
    elif how == "a file of another hour":
        other = file.parent.parent / ("hour=00" if file.parent.name != "hour=00" else "hour=01")
        other.mkdir(exist_ok=True)
        file.rename(other / file.name)
    return copy


@pytest.mark.parametrize(
    ("how", "check"),
    [("a file twice", "no result is there twice"), ("a file of another hour", "every row lies in its partition")],
)
def test_it_finds_what_is_wrong_and_the_page_is_whole_all_the_same(render, local_results, tmp_path, how, check):
    code, said, page = render(spoil(local_results, how, tmp_path))
    assert code == 1, said
    failed = said.splitlines()[-1]
    assert check in failed and failed.startswith("error: AssertionError: 1 of 6 checks failed"), said
    assert "data:image/png" in page


def test_it_finds_a_file_that_is_twice_in_a_bucket(render, bucket_results, stack_environment):
    store, job = bucket_results.store, bucket_results
    file = store.parquet(job.curated)[0]
    again = file.replace(".parquet", "-again.parquet")
    store.files.copy_file(file, again)
    try:
        code, said, _ = render(job.base, stack_environment, FLOODMARK_ALERTS=job.alerts)
    finally:
        store.files.delete_file(again)
    assert code == 1
    assert "no result is there twice" in said.splitlines()[-1], said
