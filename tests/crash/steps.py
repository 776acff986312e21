"""A small run that dies at a chosen step, and what comes after it.

The script of a run: a third of the events stands in the topic when the pipeline starts; each further
third is written when a checkpoint holds the one before; then SIGTERM, so that the pipeline drains. A
fresh process takes over whatever is left, closes the windows and ends; it may have to die as well. Every
wait is for a state. What steps are is told by `deaths.c`.
"""

import dataclasses
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from floodmark import binary
from scale import START

# Of the events, of what is drawn at random, and of which steps are tried where not all are.
SEED = int(os.environ.get("FLOODMARK_CRASH_SEED") or 42)
# Every which step is tried.
EVERY = int(os.environ.get("FLOODMARK_CRASH_EVERY") or 10)
EVENTS = 600
PORTIONS = 3
PARTITIONS = 2
INTERVAL = "100 ms"
# Younger files stay open over a checkpoint, so that checkpoints carry rows.
ROLL = "250 ms"
# Files of the window output that are uploaded in several parts of 8 MiB.
BIG_FILES = {
    "count(*) AS events,": "repeat(device_id, 100000) AS padding, count(*) AS events,",
    "partition_by = {": 'compression = "none"\npartition_by = {',
}
# What any single wait may take on a busy machine.
PATIENCE = 120
KILLED = -signal.SIGKILL


@dataclasses.dataclass(frozen=True)
class Death:
    """Before effect number `at`, or right after it; `only` limits which effects count. With SIGSTOP it is
    no death yet."""

    at: int
    after: bool = False
    only: str = ""
    by: int = signal.SIGKILL

    def __str__(self):
        text = f"{'after' if self.after else 'before'} step {self.at}"
        return f"{text} of {self.only!r}" if self.only else text


# Counts and lets live.
NEVER = Death(0)


class Shim:
    """`deaths.c`, compiled."""

    def __init__(self, folder):
        self.library = Path(folder) / "deaths.so"
        source = Path(__file__).with_name("deaths.c")
        command = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", self.library, source, "-ldl"]
        subprocess.run(command, check=True)

    def environment(self, death, log, root):
        return {
            "LD_PRELOAD": str(self.library),
            "DEATH_AT": str(death.at),
            "DEATH_AFTER": "1" if death.after else "0",
            "DEATH_ONLY": death.only,
            "DEATH_SIGNAL": str(int(death.by)),
            "DEATH_LOG": str(log),
            "DEATH_ROOT": root,
        }


def events(folder, seed):
    """The events of every script, in portions of (key, value, partition)."""
    path = Path(folder) / "events.jsonl"
    mix = "--late 0.05 --bad 0.02 --anomalies 0.05 --disorder 5s --rate max --devices 10 --interval 5s".split()
    command = [binary(), "generate", "--out", path, "--count", EVENTS, "--seed", seed, "--start", START, *mix]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    values = path.read_bytes().split(b"\n")[:EVENTS]
    records = [(f"device {i % 7}".encode(), value, i % PARTITIONS) for i, value in enumerate(values)]
    size = EVENTS // PORTIONS
    return [records[i * size : (i + 1) * size] for i in range(PORTIONS)]


class Script:
    """One job, driven along the script; `replacements` change its file further."""

    def __init__(self, place, shim, portions, replacements=None):
        self.place, self.shim, self.portions = place, shim, portions
        self.job = place.job()
        self.job.write_file(
            **{
                'interval = "10 seconds"': f'interval = "{INTERVAL}"',
                f'path = "{self.job.curated}"': f'path = "{self.job.curated}"\nroll_interval = "{ROLL}"',
                **(replacements or {}),
            }
        )
        for topic, partitions in ((self.job.source, PARTITIONS), (self.job.alerts, 1), (self.job.dead, 1)):
            place.topics.create(topic, partitions)
        self.written = 0
        self.logs = []

    def write_next(self):
        self.place.topics.write(self.job.source, self.portions[self.written])
        self.written += 1

    def start(self, death, *args):
        log = self.job.folder / f"effects-{len(self.logs) + 1}.log"
        self.logs.append(log)
        return self.job.start(*args, env=self.shim.environment(death, log, self.place.root()))

    def steps(self, run):
        """What the run with this number, from 0, has done, in order."""
        path = self.logs[run]
        return path.read_text().splitlines() if path.exists() else []

    def checkpointed(self):
        """How many records the newest checkpoint holds; None while there is none."""
        try:
            names = self.place.store.names(f"{self.job.checkpoint}/manifest")
            names = [name for name in names if name.endswith(".json")]
            if not names:
                return None
            with self.place.store.files.open_input_stream(names[-1]) as stream:
                text = stream.read().decode()
        except FileNotFoundError:
            # The directory is being made, or the manifest has been deleted as old.
            return None
        manifest = json.loads(text.partition("\n")[2])
        partitions = manifest["sources"]["sensor_events"]["partitions"].values()
        return sum(partition["next"] for partition in partitions)

    def wait_for_checkpoint(self, run):
        """Until a checkpoint holds what was written, or the run has died."""
        wanted = sum(map(len, self.portions[: self.written]))
        deadline = time.monotonic() + PATIENCE
        while at_work(run) and (self.checkpointed() or 0) < wanted:
            assert time.monotonic() < deadline, f"no checkpoint of {wanted} records:\n{run.output()[-3000:]}"
            time.sleep(0.01)

    def first_run(self, death):
        """The run that the script is about; whether it died."""
        run = self.drive(death)
        if run.process.poll() is None:
            run.process.terminate()
        return died(run)

    def drive(self, death):
        """Everything up to SIGTERM: afterwards all is written, and the run is at work, stopped or dead."""
        self.write_next()
        run = self.start(death)
        while at_work(run):
            self.wait_for_checkpoint(run)
            if self.written == PORTIONS:
                break
            self.write_next()
        while self.written < PORTIONS:
            self.write_next()
        return run

    def last_run(self, death=NEVER):
        """Finishes what was left; its report, or None if it died."""
        run = self.start(death, "--until-caught-up", "--close-windows")
        return None if died(run) else json.loads(run.path.read_text())

    def verify(self, report, every_reader=False):
        model, problems = self.job.findings(report, every_reader=every_reader)
        if model.read != EVENTS:
            problems.append(f"the topic holds {model.read} records, not {EVENTS}")
        if not (model.alerts and model.dead and len(model.windows) > PORTIONS):
            problems.append("the script lacks alerts, dead letters or windows: it would prove little")
        return model, problems


def at_work(run):
    """Whether a run has neither ended nor been stopped."""
    return run.process.poll() is None and not is_stopped(run)


def is_stopped(run):
    """Whether SIGSTOP holds it: its state follows its name in parentheses."""
    try:
        stat = Path(f"/proc/{run.process.pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] == "T"


def died(run):
    """Waits for a run's end: killed, or done. Nothing else is right."""
    code = run.process.wait(PATIENCE)
    assert code in (0, KILLED), f"exit code {code}:\n{run.output()[-6000:]}"
    return code == KILLED
