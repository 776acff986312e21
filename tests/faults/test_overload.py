"""More comes in than a sink takes: memory stays flat, the lag shows it, and it recovers by itself."""

import os
import threading

import pytest
from s3_proxy import Exchange
from waiting import wait_until

# How long the input is too much. The longer, the larger the files that the backlog makes.
SECONDS = int(os.environ.get("FLOODMARK_FAULTS_OVERLOAD", "60"))
RATE = 6_000
# A row takes about 9 bytes of the raw output's files: a third of the rate gets through.
BYTES_PER_SECOND = 18_000
MEBIBYTE = 1 << 20
# What docs/operations/running.md says may be held: fetched records, rows of open files, parts of files on
# their way, queues; and once more a Parquet sink's share, for the allocator.
HELD = (48 + 64 + 48 + 32 + 64) * MEBIBYTE
# How much of that may still come when most of the time is over.
HEADROOM = 64 * MEBIBYTE


class NarrowLine:
    """One line for all requests together, however many there are at a time."""

    def __init__(self, bytes_per_second):
        self.bytes_per_second = bytes_per_second
        self.line = threading.Lock()
        self.passed = 0

    def __call__(self, exchange: Exchange):
        with self.line:
            body = exchange.read_body(bytes_per_second=self.bytes_per_second)
            self.passed += len(body)
        exchange.answer(exchange.forward(body))


def resident(run):
    with open(f"/proc/{run.process.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def with_a_raw_output(job):
    """All events as they are, so that the sink has as much to take as comes in."""
    table = f"""[outputs.raw]
query = "SELECT device_id, ts, temperature_c, vibration_g, status, site, line FROM sensor_events"
[outputs.raw.sink]
type = "parquet"
path = "{job.base}/raw"
roll_interval = "1 second"

[engine]
batch_rows = 2048

[dead_letter] #"""
    job.write_file(**{"[dead_letter] #": table})


@pytest.mark.long
def test_three_times_what_a_slow_sink_takes_leaves_memory_flat_and_recovers(make_job, one_s3, proxy):
    between = proxy(one_s3)
    job = make_job(one_s3, between)
    with_a_raw_output(job)
    job.create_topics()
    line = NarrowLine(BYTES_PER_SECOND)
    memory, lags = [], []

    def sample():
        memory.append(resident(run))
        lags.append(sum(job.topics.ends(job.source).values()) - sum(job.positions().values()))

    # From the start, so that no backlog of before makes one large file for the narrow line.
    run = job.start()
    job.wait_for_epochs(run, 1)
    with job.load(seconds=SECONDS, rate=RATE, speed=1):
        with between.doing(line, "put", "part", path="/raw/"):
            ends = threading.Event()
            threading.Timer(SECONDS * 0.9, ends.set).start()
            while not ends.wait(1):
                assert run.process.poll() is None, run.output()[-4000:]
                sample()
    print(f"memory MiB {[m // MEBIBYTE for m in memory[:: max(1, len(memory) // 20)]]}")
    print(f"lag {lags[:: max(1, len(lags) // 20)]}, {line.passed} bytes passed")
    assert max(lags) > RATE * SECONDS // 3, f"it was no overload: {lags}"
    assert max(memory) < memory[0] + HELD, f"more is held than may be: {memory}"
    most = len(memory) * 2 // 3
    assert max(memory[most:]) < max(memory[:most]) + HEADROOM, f"memory grew: {memory}"
    assert "lag=" in run.output() and reported_lag(run) > RATE, "nobody was told of the lag"
    wait_until("it has recovered", lambda: job.positions() == job.topics.ends(job.source), 600, run=run)
    job.goes_on_by_itself(run)


def reported_lag(run):
    words = (word for line in run.output().splitlines() for word in line.split())
    return max(int(word.removeprefix("lag=")) for word in words if word.startswith("lag="))
