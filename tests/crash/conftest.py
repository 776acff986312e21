"""The model, the checks, the readers and the broker are those of the other suites."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "crash"), str(TESTS / "real"), str(TESTS / "broker")]

import pytest  # noqa: E402
from places import PLACES, Missing, Servers  # noqa: E402
from steps import EVERY, SEED, Shim, events  # noqa: E402


def pytest_report_header():
    return f"crashes: every step {EVERY}, seed {SEED} (FLOODMARK_CRASH_EVERY, FLOODMARK_CRASH_SEED)"


@pytest.fixture(scope="session")
def real_servers():
    with Servers() as servers:
        yield servers


@pytest.fixture(params=PLACES)
def place(request, real_servers, tmp_path):
    """A broker and a store, each combination in turn."""
    try:
        opened = real_servers.place(request.param, tmp_path)
    except Missing as missing:
        pytest.skip(str(missing))
    with opened:
        yield opened


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    return Shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def portions(tmp_path_factory):
    return events(tmp_path_factory.mktemp("events"), SEED)
