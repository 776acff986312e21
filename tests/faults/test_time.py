"""Clocks that jump, and partitions that fall silent."""

import datetime
import json
import struct
import subprocess
import time
from pathlib import Path

import pytest
from readers import read_windows
from waiting import wait_until

NOON = datetime.datetime(2025, 8, 17, 12, tzinfo=datetime.timezone.utc)
HOUR = 3600
SOON_IDLE = {'idle_after = "30 seconds"': 'idle_after = "2 seconds"'}


SHIM = Path(__file__).with_name("jumping_clock.c")


@pytest.fixture(scope="session")
def jumping_clock(tmp_path_factory):
    """A library to preload. The compiler is the one that building Floodmark takes."""
    library = tmp_path_factory.mktemp("clock") / "jumping_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM), "-ldl"], check=True)
    return library


@pytest.mark.parametrize(
    "jumps",
    [
        pytest.param([HOUR], id="ahead"),
        pytest.param([-HOUR], id="back"),
        pytest.param([HOUR, -HOUR, 0], id="to and fro", marks=pytest.mark.ci),
    ],
)
def test_a_wall_clock_that_jumps_by_an_hour_loses_and_repeats_nothing(
    make_job, local_store, tmp_path, jumping_clock, jumps
):
    """Event time is now, so that the clock matters: an hour back, events are too far in the future. They
    are kept, and move no watermark."""
    offset = tmp_path / "offset"
    offset.write_bytes(struct.pack("=q", 0))
    job = make_job(local_store)
    job.create_topics()
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    with job.load(seconds=20, start=now, speed=1):
        run = job.start(env={"LD_PRELOAD": str(jumping_clock), "FLOODMARK_CLOCK_FILE": str(offset)})
        job.wait_for_epochs(run, 2)
        for jump in jumps:
            # In place: the process has mapped these bytes.
            with open(offset, "r+b") as file:
                file.write(struct.pack("=q", jump))
            wait_until("a checkpoint by the new clock", lambda j=jump: ahead(job, j), run=run)
            job.wait_for_epochs(run, 3)
    job.wait_until_read(run)
    report = run.terminate()
    future = report["sources"]["sensor_events"]["ledger"]["future"]
    assert (future > 0) == (-HOUR in jumps), f"{future} events were too far in the future"
    job.ends_exactly()


def ahead(job, seconds):
    """Whether the newest checkpoint's clock is so far ahead of ours, give or take what it took."""
    return abs(job.newest_manifest()["created_ms"] / 1000 - time.time() - seconds) < HOUR / 2


def event(minute, second=0, device="MTR-1"):
    ts = NOON + datetime.timedelta(minutes=minute, seconds=second)
    return json.dumps({"device_id": device, "ts": ts.isoformat(), "temperature_c": 20.0}).encode()


def visible(job):
    return {(row.device_id, row.start) for row in read_windows(job.store, job.curated)}


@pytest.mark.ci
def test_a_partition_that_is_silent_for_an_hour_holds_no_window_back(make_job, topics, local_store):
    """An hour of event time passes on two partitions. The third comes back with what it has now."""
    job = make_job(local_store, **SOON_IDLE)
    job.create_topics()
    topics.write(job.source, [(None, event(0), partition) for partition in range(3)])
    run = job.start()
    job.wait_until_read(run)
    topics.write(job.source, [(None, event(minute), minute % 2) for minute in range(60)])
    wanted = {key for key in job.model().windows if key[1] < micros(58)}
    wait_until("58 minutes are visible", lambda: wanted <= visible(job), run=run)
    topics.write(job.source, [(None, event(60, second), 2) for second in range(30)])
    model = job.goes_on_by_itself(run)
    assert not model.late and len(model.windows) == 61


@pytest.mark.ci
def test_when_all_partitions_fall_silent_the_last_window_comes_out(make_job, topics, local_store):
    job = make_job(local_store, **SOON_IDLE)
    job.create_topics()
    topics.write(job.source, [(None, event(0, second), second % 3) for second in range(60)])
    run = job.start()
    wait_until("the last window is visible", lambda: visible(job) == set(job.model().windows), run=run)
    # It was no end: what comes afterwards is read.
    topics.write(job.source, [(None, event(5, second), second % 3) for second in range(60)])
    wait_until("the next window is visible", lambda: visible(job) == set(job.model().windows), run=run)
    model = job.goes_on_by_itself(run)
    assert len(model.windows) == 2 and not model.late


def micros(minute):
    return int((NOON + datetime.timedelta(minutes=minute)).timestamp()) * 1_000_000


@pytest.mark.ci
def test_a_device_whose_clock_is_in_2099_makes_nothing_late(make_job, topics, local_store):
    job = make_job(local_store)
    job.create_topics()
    wrong = event(0).replace(b"2025-08-17", b"2099-08-17").replace(b"MTR-1", b"MTR-2")
    values = [wrong if second % 5 == 0 else event(0, second) for second in range(60)]
    topics.write(job.source, [(None, value, index % 3) for index, value in enumerate(values)])
    report = job.run_until_caught_up()
    model = job.verify(report)
    assert not model.late and report["sources"]["sensor_events"]["ledger"]["future"] == 12
    assert {device for device, _ in model.windows} == {"MTR-1", "MTR-2"}
