"""What the suite shares: the tools, and the stack of deploy/docker-compose.yml, started once.

Helpers for topics, stores, the binary and the demo are those of the other suites.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tests/real", "tests/demo", "scripts")]

from stack import Stack  # noqa: E402


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def promtool():
    """Runs promtool; returns what it says. Its exit code must be 0."""
    program = shutil.which("promtool")
    if not program:
        pytest.fail("promtool is missing: apt-get install prometheus")

    def run(*args):
        done = subprocess.run([program, *map(str, args)], capture_output=True, text=True)
        assert done.returncode == 0, f"promtool {args[0]} {args[1]}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def stack():
    """The services of the compose file as processes of this machine, on free ports, with events coming."""
    running = Stack(ROOT / "target/observability")
    try:
        running.up()
        yield running
    finally:
        running.down()


@pytest.fixture(scope="session")
def stack_environment(stack):
    """What a shell has after `scripts/services stack up --env FILE` and `. FILE`."""
    return os.environ | stack.variables
