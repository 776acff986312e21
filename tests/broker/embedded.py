"""`floodmark broker` as a user runs it: a process, an address, an end."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Until clients are accepted. Recovery reads what is on the disk.
READY_SECONDS = 30
# What SIGTERM may take.
STOP_SECONDS = 25


def binary():
    path = Path(os.environ.get("FLOODMARK_BIN") or ROOT / "target/debug/floodmark")
    if not path.exists():
        raise FileNotFoundError(f"{path}: build it with `cargo build` or set FLOODMARK_BIN")
    return str(path)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """One broker at one address, which may end and start again."""

    def __init__(self, folder, durable, env=None):
        self.folder = Path(folder)
        self.env = env or {}
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log = self.folder / "broker.log"
        self.data = ["--data", str(self.folder / "data")] if durable else []
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [binary(), "broker", "--listen", self.address, *self.data],
                env=os.environ | {"NO_COLOR": "1"} | self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                if self.process.poll() is not None:
                    raise AssertionError(f"floodmark broker ended by itself:\n{self.output()}") from None
                if time.monotonic() > deadline:
                    raise AssertionError(f"no answer within {READY_SECONDS} s:\n{self.output()}") from None
                time.sleep(0.02)

    def output(self):
        return self.log.read_text(errors="replace")[-6000:]

    def kill(self):
        """SIGKILL: no chance to write anything."""
        assert self.process.poll() is None, f"floodmark broker ended by itself:\n{self.output()}"
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; it must exit with 0."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"SIGTERM did not end it in {STOP_SECONDS} s:\n{self.output()}") from None
        assert code == 0, f"exit code {code}:\n{self.output()}"
