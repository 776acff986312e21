"""The `floodmark` binary as a user runs it: a pipeline file, a command line, exit codes, a report."""

import json
import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

import checks
import readers
from model import SECOND, Alert, Model, micros

ROOT = Path(__file__).resolve().parents[2]
MAX_FUTURE = 300 * SECOND
# What SIGTERM may take.
DRAIN_SECONDS = 25


def binary():
    path = Path(os.environ.get("FLOODMARK_BIN") or ROOT / "target/debug/floodmark")
    if not path.exists():
        raise FileNotFoundError(f"{path}: build it with `cargo build` or set FLOODMARK_BIN")
    return str(path)


class Job:
    """The sensors pipeline with topics and paths of its own, so that tests share servers."""

    def __init__(self, folder, topics, store, base):
        self.folder, self.topics, self.store = Path(folder), topics, store
        self.name = f"sensors-{uuid.uuid4().hex[:8]}"
        self.source, self.alerts, self.dead = (f"{self.name}-{part}" for part in ("events", "alerts", "dead"))
        self.base = f"{base}/{self.name}"
        self.curated, self.late, self.checkpoint = (f"{self.base}/{part}" for part in ("curated", "late", "_chk"))
        self.file = self.folder / "sensors.toml"
        self.reports = 0
        self.env = os.environ | {
            "KAFKA_BROKERS": topics.brokers,
            "NO_COLOR": "1",
        }
        if store.endpoint:
            self.env |= {
                "AWS_ENDPOINT_URL": store.endpoint,
                "AWS_ACCESS_KEY_ID": store.access_key,
                "AWS_SECRET_ACCESS_KEY": store.secret_key,
                "AWS_REGION": store.region,
                "AWS_ALLOW_HTTP": "true",
            }
        self.write_file()

    def write_file(self, **replacements):
        """The shipped pipeline file, its names replaced: what users get is what is tested."""
        text = (ROOT / "pipelines/sensors.toml").read_text()
        names = {
            'name = "sensors"': f'name = "{self.name}"',
            '"sensor_events"': f'"{self.source}"',
            '"sensor_alerts"': f'"{self.alerts}"',
            '"sensor_events_dead"': f'"{self.dead}"',
            "s3://rt-stream/curated": self.curated,
            "s3://rt-stream/late": self.late,
            "s3://rt-stream/_chk": self.checkpoint,
        } | replacements
        for old, new in names.items():
            if old not in text:
                raise AssertionError(f"pipelines/sensors.toml no longer contains {old}")
            text = text.replace(old, new)
        self.file.write_text(text)

    def command(self, *args, check=0, timeout=600, env=None):
        """Runs to the end; the exit code must be `check` (None: any)."""
        done = subprocess.run(
            [binary(), *map(str, args)],
            env=self.env | (env or {}),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check is not None and done.returncode != check:
            raise AssertionError(
                f"floodmark {' '.join(map(str, args))}: exit code {done.returncode}, not {check}\n"
                f"stdout: {done.stdout[-3000:]}\nstderr: {done.stderr[-6000:]}"
            )
        return done

    def create_topics(self):
        self.command("topics", "create", self.file)

    def generate_args(self, *args):
        return ["generate", "--brokers", self.topics.brokers, "--topic", self.source, *map(str, args)]

    def generate(self, *args):
        report = self.folder / "generated.json"
        self.command(*self.generate_args(*args, "--report", report))
        return json.loads(report.read_text())

    def start(self, *args, env=None):
        """`floodmark run` in the background; its report is read by `Run.report`."""
        self.reports += 1
        return Run(self, self.folder / f"report-{self.reports}.json", args, env)

    def run_until_caught_up(self, timeout=600):
        run = self.start("--until-caught-up", "--close-windows")
        return run.wait(timeout)

    def model(self, undecided=frozenset(), refused=frozenset()):
        """What must come out, given what the late output claims."""
        late = readers.read_late(self.store, self.late)
        problems = checks.check_late_output(late, self.source)
        model = Model(
            late={(row.partition, row.offset): row for row in late},
            # A watermark moves by event times up to `max_future` ahead of the clock, which is behind now.
            future_from=int(time.time() * SECOND) + MAX_FUTURE,
            undecided=undecided,
            refused=refused,
        )
        model.problems += problems
        for record in self.topics.read(self.source):
            model.feed(record)
        return model.finish()

    def read_alerts(self):
        rows = []
        for record in self.topics.read(self.alerts):
            row = json.loads(record.value)
            unknown = row.keys() - set(Alert._fields)
            assert not unknown, f"alert with unexpected fields {unknown}"
            assert record.key == row["device_id"].encode(), f"alert of {row['device_id']} has key {record.key}"
            row["ts"] = micros(row["ts"])
            rows.append(Alert(*map(row.get, Alert._fields)))
        return rows

    def read_dead_letters(self):
        return list(self.topics.read(self.dead, headers=True))

    def findings(self, report, undecided=frozenset(), every_reader=True):
        """Every promise of the main job against the topic itself: the model, and what is wrong."""
        dead = self.read_dead_letters()
        refused = frozenset(map(checks.origin, dead)) if undecided else frozenset()
        model = self.model(undecided, refused)
        problems = list(checks.shown(model.problems))
        problems += checks.check_windows(model, readers.read_windows(self.store, self.curated))
        problems += checks.check_alerts(model, self.read_alerts())
        problems += checks.check_dead_letters(model, dead, self.source)
        problems += checks.check_report(model, report)
        if every_reader:
            problems += readers.check_readers(self.store, self.curated)
        for topic in (self.alerts, self.dead):
            problems += [f"{topic}: a transaction hangs in {p}: {at}" for p, at in self.topics.dangling(topic).items()]
        return model, problems

    def verify(self, report, undecided=frozenset()):
        """Nothing may be wrong; returns the model."""
        model, problems = self.findings(report, undecided)
        assert not problems, f"{self.name} on {self.store.name}:\n" + "\n".join(problems)
        return model


class Run:
    """A running `floodmark run`."""

    def __init__(self, job, report, args, env=None):
        self.path = report
        self.log = report.with_suffix(".log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [binary(), "run", str(job.file), "--report", str(report), *args],
                env=job.env | (env or {}),
                cwd=job.folder,
                stdout=log,
                stderr=log,
            )

    def output(self):
        return self.log.read_text(errors="replace")

    def wait(self, timeout, check=0):
        """Waits for the end and returns the report."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"floodmark run did not end in {timeout} s:\n{self.output()[-6000:]}") from None
        if code != check:
            raise AssertionError(f"floodmark run: exit code {code}, not {check}:\n{self.output()[-6000:]}")
        return json.loads(self.path.read_text()) if code == 0 else None

    def wait_for_any_end(self):
        """After SIGTERM: by itself with 0, or by the signal if it came before the handler was in place."""
        code = self.process.wait(DRAIN_SECONDS)
        assert code in (0, -signal.SIGTERM), f"exit code {code}:\n{self.output()[-6000:]}"

    def terminate(self):
        """SIGTERM: it must drain, checkpoint and exit 0 within the promised time."""
        assert self.process.poll() is None, f"floodmark run ended by itself:\n{self.output()[-6000:]}"
        self.process.send_signal(signal.SIGTERM)
        return self.wait(DRAIN_SECONDS)
