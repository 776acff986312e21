"""Runs of the broken build's tests, and what they say."""

import os
import re
import signal
import subprocess
from dataclasses import dataclass

from .tree import SWITCH, TREE

SIMULATION = "simulation::"
SCRIPTS = "simulation::scripts::"

# In place of a test's name.
CRASHED = "the whole binary"

# Of a message in the table.
MOST_CHARACTERS = 130
# Of failed tests, named in the table.
MOST_NAMES = 3


@dataclass
class Run:
    """What one run of a test binary has shown."""

    output: str
    # Seconds after which it was ended; none if it ended by itself.
    cut_off: int | None
    failed: list
    # Whether it ended by itself, and well.
    passed: bool


def run(binary, broken, arguments, timeout, one_cpu=False):
    """Runs tests with one mutation switched on, or none. On one CPU the simulation takes seeds in their order, so that
    the seed it names is the first that fails, on every machine."""
    environment = os.environ | {SWITCH: broken or ""}
    for name in ("FLOODMARK_SIM_SEED", "FLOODMARK_SIM_SEEDS", "FLOODMARK_TEST_SEED"):
        environment.pop(name, None)
    restrict = None
    if one_cpu and hasattr(os, "sched_setaffinity"):
        cpu = min(os.sched_getaffinity(0))
        restrict = lambda: os.sched_setaffinity(0, {cpu})  # noqa: E731
    # Where `cargo test` runs them. A group of its own, so that what a test has started ends with it.
    process = subprocess.Popen(
        [binary, *arguments], cwd=TREE / "crates/engine", env=environment, preexec_fn=restrict,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )
    cut_off = None
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        cut_off = timeout
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    failed = sorted(set(re.findall(r"^test (\S+).* \.\.\. FAILED$", output, re.MULTILINE)))
    if cut_off is None and process.returncode != 0 and not failed:
        failed = [CRASHED]
    return Run(output, cut_off, failed, cut_off is None and process.returncode == 0)


def run_twice(binary, broken, arguments, timeout):
    """The same; what has failed runs once more by itself, and only what then fails again has failed. Tests over real
    clients keep time, and a machine may be busy."""
    first = run(binary, broken, arguments, timeout)
    if first.passed or first.cut_off or CRASHED in first.failed:
        return first
    again = run(binary, broken, [*first.failed, "--exact"], timeout)
    return first if again.cut_off else again


def simulated(found):
    """What the simulation says of a mutation."""
    said = []
    seed = re.search(r"^seed (\d+): (.+)$", found.output, re.MULTILINE)
    if seed:
        said.append(f"seed {seed[1]}, {shortened(seed[2])}")
    scripts = [name for name in found.failed if name.startswith(SCRIPTS)]
    said += [f"{len(scripts)} of `simulation::scripts`"] if scripts else []
    said += [f"does not end within {found.cut_off} s"] if found.cut_off else []
    if not said:
        said = [named(found.failed)] if found.failed else ["does not see it"]
    return ", and ".join(said)


def others(runs):
    """What other tests say of it."""
    failed = [name for found in runs for name in found.failed]
    cut_off = [found.cut_off for found in runs if found.cut_off]
    if not failed and cut_off:
        return f"does not end within {cut_off[0]} s"
    at_least = "at least " if cut_off else ""
    return at_least + named(failed) if failed else "none"


def named(tests):
    names = ", ".join(f"`{name}`" for name in tests[:MOST_NAMES])
    more = len(tests) - MOST_NAMES
    return f"{names} and {more} more" if more > 0 else names


def shortened(message):
    # Numbers in names of files, manifests and state files.
    message = re.sub(r"part-\d{10}-[\w-]+", "part-…", message)
    message = re.sub(r"/0{10}\d+", "/…", message).replace("|", r"\|")
    return message if len(message) <= MOST_CHARACTERS else message[:MOST_CHARACTERS].rpartition(" ")[0] + " …"
