"""The sensors pipeline under load while something goes wrong, and what its checkpoint says meanwhile."""

import contextlib
import json
import os
import signal
import subprocess

from floodmark import Job, Run, binary
from waiting import PATIENCE, wait_until

SEED = os.environ.get("FLOODMARK_REAL_SEED", "42")
# The clock of most deployments is right, and event time lies behind it. At 30 times its speed windows
# of a minute close every two seconds.
SPEED = 30
START = "2025-08-17T12:00:00Z"
MIX = ["--late", "0.01", "--bad", "0.002", "--anomalies", "0.02", "--disorder", "5s", "--seed", SEED]
DEVICES = 50
RATE = 400
# Of outages. CI shortens them; once, and after changes of the protocol, they are run in full.
OUTAGE_SECONDS = float(os.environ.get("FLOODMARK_FAULTS_OUTAGE", "10"))


class FaultyJob(Job):
    """A job whose checkpoint is looked into, and whose processes do not outlive the test."""

    def __init__(self, folder, topics, store, base, replacements):
        self.replacements = {'interval = "10 seconds"': 'interval = "1 second"'} | replacements
        self.processes = []
        super().__init__(folder, topics, store, base)

    def write_file(self, **replacements):
        super().write_file(**(self.replacements | replacements))

    def create_topics(self):
        """A broker may answer that a topic was made before it can be asked about it."""
        super().create_topics()
        for topic in (self.source, self.dead):
            wait_until(f"{topic} can be seen", lambda t=topic: self.topics.partitions(t))

    def start(self, *args, env=None):
        self.reports += 1
        before, self.env = self.env, self.env | (env or {})
        try:
            run = Run(self, self.folder / f"report-{self.reports}.json", args)
        finally:
            self.env = before
        self.processes.append(run.process)
        return run

    def end_all(self):
        for process in self.processes:
            if process.poll() is None:
                # A stopped process takes no other signal.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                process.wait()

    @contextlib.contextmanager
    def load(self, seconds=20, rate=RATE, speed=SPEED, start=START):
        """Events arrive for so long, beside whatever happens in the block."""
        flags = ["--devices", DEVICES, "--rate", rate, "--count", int(rate * seconds), "--speed", speed]
        # Longer than any outage: the load is not what is tested.
        flags += ["--kafka", "message.timeout.ms=300000"]
        path = self.folder / "generate.log"
        with open(path, "w") as log:
            command = [binary(), *self.generate_args(*flags, *MIX, "--start", start)]
            generator = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)
        self.processes.append(generator)
        yield
        code = generator.wait(seconds + PATIENCE * 2)
        assert code == 0, f"floodmark generate: {path.read_text()}"

    def fill(self, count=10_000):
        """Events that are there before anything runs."""
        flags = ["--devices", DEVICES, "--rate", "max", "--count", count, "--interval", "5s"]
        self.generate(*flags, *MIX, "--start", START)

    def manifests(self):
        return [name for name in self.store.names(self.checkpoint) if "/manifest/" in name]

    def read_object(self, name):
        with self.store.files.open_input_file(name) as file:
            return file.read()

    def newest_manifest(self):
        names = self.manifests()
        if not names:
            return None
        header, _, body = self.read_object(names[-1]).partition(b"\n")
        assert header.startswith(b"floodmark-checkpoint"), header
        return json.loads(body)

    def epoch(self):
        manifest = self.newest_manifest()
        return manifest["epoch"] if manifest else 0

    def positions(self):
        """Next offsets of the newest checkpoint."""
        manifest = self.newest_manifest()
        if not manifest:
            return {}
        partitions = manifest["sources"]["sensor_events"]["partitions"]
        return {int(partition): state["next"] for partition, state in partitions.items()}

    def wait_for_epochs(self, run, count):
        """Until so many further checkpoints are durable: that many times, everything has worked."""
        wanted = self.epoch() + count
        wait_until(f"checkpoint {wanted}", lambda: self.epoch() >= wanted, run=run)

    def wait_until_read(self, run):
        """Until a checkpoint holds everything that stands in the topic."""

        def is_read():
            return self.positions() == self.topics.ends(self.source)

        wait_until(f"{self.source} is read", is_read, run=run)

    def goes_on_by_itself(self, run):
        """All that was written is read and checkpointed by the same process; then it ends as it
        should, and what readers see is what the model computes."""
        self.wait_until_read(run)
        run.terminate()
        return self.ends_exactly()

    def ends_exactly(self):
        return self.verify(self.run_until_caught_up())

    def stops_saying(self, run, *words, code=1, timeout=PATIENCE):
        """The run ends with `code`, and its last message has each of `words`."""
        run.wait(timeout, check=code)
        text = run.output()
        message = text[text.rfind("error:") :].lower()
        assert "error:" in message, f"no error in:\n{text[-4000:]}"
        for word in words:
            assert str(word).lower() in message, f"no “{word}” in:\n{message}"
        assert "panicked" not in text
        clauses = message.strip().split(": ")
        assert len(clauses) == len(set(clauses)), f"said twice: {message}"
        return message
