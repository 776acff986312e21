"""`floodmark demo` as a user runs it, and what it left behind as plain readers see it."""

import json
import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager

import checks
import readers
from floodmark import MAX_FUTURE, binary
from model import SECOND, Alert, Model, micros
from topics import Topics

# What a start may take until the broker answers, on a busy machine.
READY_SECONDS = 60
# What a stop may take.
END_SECONDS = 40
SOURCE, ALERTS, DEAD = "sensor_events", "sensor_alerts", "sensor_events_dead"


class Process:
    """A `floodmark` that serves a broker on a free port."""

    def __init__(self, log, *args):
        self.log = log
        self.written = log.stat().st_size if log.exists() else 0
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                [binary(), *map(str, args)],
                env=os.environ | {"NO_COLOR": "1", "KAFKA_BROKERS": "127.0.0.1:1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def output(self):
        return self.log.read_bytes()[self.written :].decode(errors="replace")

    def broker(self):
        """The broker's address, once it says so."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            found = re.search(r"broker(?:=\"| on )(127\.0\.0\.1:\d+)", self.output())
            if found:
                return found.group(1)
            assert self.process.poll() is None, f"ended by itself:\n{self.output()}"
            time.sleep(0.02)
        raise AssertionError(f"no address within {READY_SECONDS} s:\n{self.output()}")

    def kill(self):
        """SIGKILL: no chance to write anything."""
        assert self.process.poll() is None, f"ended by itself:\n{self.output()}"
        self.process.kill()
        self.process.wait()

    def end(self, by=None, within=END_SECONDS):
        """Waits for the end, asked for by a signal or not; the exit code must be 0."""
        if by is not None:
            self.process.send_signal(by)
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end within {within} s:\n{self.output()}") from None
        assert code == 0, f"exit code {code}:\n{self.output()}"
        return self.output()


class Demo:
    """A demo's directory."""

    def __init__(self, folder):
        self.directory = folder / "floodmark-data"
        self.store = readers.Store("the local file system", f"file://{self.directory}")
        self.curated, self.late = (f"file://{self.directory}/{part}" for part in ("curated", "late"))
        self.log = folder / "demo.log"

    def start(self, *args, http="off"):
        places = ("--listen", "127.0.0.1:0", "--http", http, "--data", self.directory)
        return Process(self.log, "demo", *places, *args)

    @contextmanager
    def topics(self):
        """The topics that a demo left behind, served by the broker alone."""
        broker = Process(self.log, "broker", "--listen", "127.0.0.1:0", "--data", self.directory / "broker")
        try:
            yield Topics(broker.broker())
        finally:
            broker.end(signal.SIGTERM)

    def files(self):
        return self.store.parquet(self.curated)

    def verify(self):
        """Nothing lost, nothing twice, compared with the topic itself; returns the model.

        The last demo must have closed its windows: with `--for`, every event is in a file."""
        with self.topics() as topics:
            late = readers.read_late(self.store, self.late)
            problems = checks.check_late_output(late, SOURCE)
            model = Model(
                late={(row.partition, row.offset): row for row in late},
                future_from=int(time.time() * SECOND) + MAX_FUTURE,
            )
            for record in topics.read(SOURCE):
                model.feed(record)
            model.finish()
            problems += checks.shown(model.problems)
            problems += checks.check_windows(model, readers.read_windows(self.store, self.curated))
            problems += checks.check_alerts(model, list(map(alert, topics.read(ALERTS))))
            problems += checks.check_dead_letters(model, list(topics.read(DEAD, headers=True)), SOURCE)
            problems += readers.check_readers(self.store, self.curated)
            for topic in (ALERTS, DEAD):
                dangling = topics.dangling(topic).items()
                problems += [f"{topic}: a transaction hangs in {p}: {at}" for p, at in dangling]
        assert not problems, "\n".join(problems)
        return model

    def events_in_files(self):
        """As DuckDB sums them."""
        files = f"{self.directory}/curated/**/*.parquet"
        sql = "SELECT sum(events)::BIGINT FROM read_parquet($files, hive_partitioning = true)"
        with self.store.duckdb() as connection:
            return connection.execute(sql, {"files": files}).fetchone()[0]


def alert(record):
    row = json.loads(record.value)
    assert record.key == row["device_id"].encode(), f"alert of {row['device_id']} has key {record.key}"
    row["ts"] = micros(row["ts"])
    return Alert(*map(row.get, Alert._fields))


def taken(output, by):
    """What the ledger that was printed at the end says an output has taken."""
    found = re.search(rf"^  {by}: [\d,]+ = ([\d,]+) taken", output, re.MULTILINE)
    assert found, f"no ledger of {by} in:\n{output}"
    return int(found.group(1).replace(",", ""))
