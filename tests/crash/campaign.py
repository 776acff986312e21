"""Random SIGKILL of a pipeline under steady load, and the count of what is lost or there twice after it.

A cycle starts `floodmark run` and kills it. Every other one is killed at a moment that is uniform over
the time a recovery takes, twice over, so that starts, claims and restores are hit as well; the others are
let through until they have processed records, which is the recovery that is measured (so no slow one
escapes the figures), and are killed within two checkpoint intervals after that. At the end one run goes
to the end of the topic, and everything a reader sees is compared with the model.
"""

import collections
import datetime
import json
import random
import re
import signal
import statistics
import subprocess
import time

import checks
import readers
from floodmark import binary
from model import micros
from scale import START

INTERVAL_SECONDS = 0.5
RATE = 300
DEVICES = 50
# Event time runs so much faster than the clock that a window closes each second.
SPEED = 60.0
# With many devices their windows shall stay open until the end: the load's whole event time, in seconds.
HELD_OPEN_SECONDS = 20.0
MIX = "--late 0.01 --bad 0.002 --anomalies 0.01 --disorder 5s".split()
# Which share of the cycles kills the embedded broker too.
BROKER_KILLS = 0.05
# The first guess of what a recovery takes, until some are known.
RECOVERY_GUESS = 0.5
# What a start may take until it is called hung, on a busy machine.
PATIENCE = 120
FIRST_RECORDS = re.compile(r"^(\S+Z)\s.*first records processed", re.MULTILINE)
CLAIMED = re.compile(r"\b(starting|resuming)\b")


def wall_seconds(stamp):
    return datetime.datetime.fromisoformat(stamp).timestamp()


class Cycle:
    """One start of the pipeline."""

    def __init__(self, job, *args):
        self.started = time.time()
        self.run = job.start(*args)

    def recovered_after(self):
        """Seconds from the process's start to its first records, or None."""
        found = FIRST_RECORDS.search(self.run.output())
        return wall_seconds(found.group(1)) - self.started if found else None

    def wait_for_first_records(self):
        deadline = time.monotonic() + PATIENCE
        while (after := self.recovered_after()) is None:
            if self.run.process.poll() is not None or time.monotonic() > deadline:
                return None
            time.sleep(0.005)
        return after

    def kill(self):
        """SIGKILL; whether it still ran."""
        if self.run.process.poll() is None:
            self.run.process.kill()
        return self.run.process.wait() == -signal.SIGKILL

    def stage(self):
        """How far it had come when it was killed."""
        output = self.run.output()
        if FIRST_RECORDS.search(output):
            return "running"
        return "recovering" if CLAIMED.search(output) else "before its claim"


class Load:
    """`floodmark generate`, steadily, until it is stopped."""

    def __init__(self, job, seed, kills, held_open):
        self.job, self.report = job, job.folder / "generated.json"
        start, speed, devices = START, SPEED, DEVICES
        if held_open:
            # Every device into one window that the steady load never closes.
            devices, speed = held_open, HELD_OPEN_SECONDS / (10 * kills + 60)
            fill = ["--rate", "max", "--count", devices, "--devices", devices, "--interval", "10s", "--start", START]
            job.generate(*fill)
            start = START.replace(":00Z", ":10Z")
        mix = [*MIX, "--rate", RATE, "--speed", speed, "--start", start, "--devices", devices, "--seed", seed]
        # Back at once when the broker is: without records there is nothing to measure recoveries by.
        mix += ["--kafka", "reconnect.backoff.max.ms=100"]
        self.log = open(job.folder / "generate.log", "w")
        command = [binary(), *job.generate_args(*mix, "--report", self.report)]
        self.process = subprocess.Popen(command, env=job.env, stdout=self.log, stderr=self.log)

    def stop(self):
        """Delivers what was generated; how many events were acknowledged."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(PATIENCE)
        if code != 0:
            raise AssertionError(f"floodmark generate: exit code {code}, see {self.log.name}")
        return json.loads(self.report.read_text())["events"]

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


class Campaign:
    """Kills in one place."""

    def __init__(self, place, seed, held_open=None):
        self.place, self.held_open, self.seed = place, held_open, seed
        self.random = random.Random(f"{seed} {place.name}")
        self.job = place.job()
        self.job.write_file(**{'interval = "10 seconds"': f'interval = "{int(INTERVAL_SECONDS * 1000)} ms"'})
        self.job.create_topics()
        self.kills, self.broker_kills, self.starts = 0, 0, 0
        self.stages, self.recoveries, self.problems = collections.Counter(), [], []

    def run(self, kills):
        """The figures."""
        began = time.monotonic()
        load = Load(self.job, self.seed, kills, self.held_open)
        try:
            if self.held_open:
                self.fill()
            while self.kills < kills and not self.problems:
                self.cycle(measured=self.kills % 2 == 1)
            acknowledged = load.stop() + (self.held_open or 0)
        finally:
            load.kill()
        if self.held_open and any(row.start == micros(START) for row in self.windows()):
            self.problems.append("the windows of all devices did not stay open to the end")
        report = self.start("--until-caught-up", "--close-windows").run.wait(10 * PATIENCE)
        figures = {
            "place": self.place.name,
            "kills": self.kills,
            "broker_kills": self.broker_kills,
            "starts": self.starts,
            "killed_while": dict(self.stages),
            "seconds": round(time.monotonic() - began, 1),
        }
        return figures | recovery(self.recoveries) | self.compare(report, acknowledged)

    def start(self, *args):
        self.starts += 1
        return Cycle(self.job, *args)

    def windows(self):
        return readers.read_windows(self.job.store, self.job.curated)

    def fill(self):
        """Until the windows of all devices are open and in a checkpoint."""
        report = self.start("--until-caught-up").run.wait(PATIENCE)
        taken = report["sources"]["sensor_events"]["ledger"]["outputs"]["curated"]["taken"]
        if taken < self.held_open:
            self.problems.append(f"{taken} events are in windows, fewer than the {self.held_open} devices")

    def cycle(self, measured):
        cycle = self.start()
        if measured:
            after = cycle.wait_for_first_records()
            if after is None:
                cycle.kill()
                self.problems.append(f"no recovery:\n{cycle.run.output()[-3000:]}")
                return
            self.recoveries.append(after)
            time.sleep(self.random.uniform(0, 2 * INTERVAL_SECONDS))
        else:
            typical = statistics.median(self.recoveries) if self.recoveries else RECOVERY_GUESS
            time.sleep(self.random.uniform(0, 2 * typical))
        if self.place.broker and self.random.random() < BROKER_KILLS:
            self.kill_broker()
        if cycle.kill():
            self.kills += 1
            self.stages[cycle.stage()] += 1
        else:
            self.problems.append(f"ended by itself:\n{cycle.run.output()[-3000:]}")

    def kill_broker(self):
        """The pipeline goes on, or is killed, while the broker is away or just back."""
        self.place.broker.kill()
        time.sleep(self.random.uniform(0, INTERVAL_SECONDS))
        self.place.broker.start()
        self.broker_kills += 1
        time.sleep(self.random.uniform(0, INTERVAL_SECONDS))

    def compare(self, report, acknowledged):
        model, problems = self.job.findings(report)
        if model.read < acknowledged:
            problems.append(f"the broker lost {acknowledged - model.read} records that it had acknowledged")
        return count(model, self.job) | {"events": model.read, "problems": self.problems + problems}


def recovery(seconds):
    """The recoveries that were let through, in milliseconds."""
    if not seconds:
        return {"recoveries": 0}
    ordered = sorted(seconds)
    p99 = ordered[max(0, -(-99 * len(ordered) // 100) - 1)]
    figures = {"median": statistics.median(ordered), "p99": p99, "slowest": ordered[-1]}
    return {"recoveries": len(ordered)} | {f"recovery_{name}_ms": round(1000 * s) for name, s in figures.items()}


def once(names):
    return collections.Counter(dict.fromkeys(names, 1))


def count(model, job):
    """How many rows are there, lost, and there twice or unasked, over all outputs."""
    windows = readers.read_windows(job.store, job.curated)
    late = [(row.partition, row.offset) for row in readers.read_late(job.store, job.late)]
    compared = [
        (once(model.windows), [(row.device_id, row.start) for row in windows]),
        (model.alerts, job.read_alerts()),
        (once(model.dead), list(map(checks.origin, job.read_dead_letters()))),
        # Which rows are late is for the pipeline to say and for the model to check: each just once. One that
        # is lost is an event too few.
        (once(late), late),
    ]
    figures = collections.Counter(rows=0, lost=0, duplicated=0)
    for expected, rows in compared:
        actual = collections.Counter(rows)
        figures["rows"] += len(rows)
        figures["lost"] += (expected - actual).total()
        figures["duplicated"] += (actual - expected).total()
    in_windows = collections.Counter()
    for row in windows:
        in_windows[row.device_id, row.start] += row.events
    wanted = collections.Counter({name: window.events for name, window in model.windows.items()})
    figures["events_lost"] = (wanted - in_windows).total()
    figures["events_twice"] = (in_windows - wanted).total()
    return dict(figures)
