"""Software in the user's cache folder: installed once, by its registry's ordinary client, all or nothing."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "floodmark"


class ServicesError(Exception):
    """What went wrong, in words for the person at the terminal."""


def say(message):
    print(message, file=sys.stderr, flush=True)


def need(program, why, hint):
    """Finds a program on the path or says who needs it and how to get it."""
    found = shutil.which(program)
    if not found:
        raise ServicesError(f"{why} needs `{program}`, which is not on the PATH. {hint}")
    return found


def run(command, what, **kwargs):
    """Runs a command quietly; its output is shown when it fails."""
    done = subprocess.run(
        [str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-30:])
        raise ServicesError(f"{what} failed with exit code {done.returncode}:\n{tail}")


@contextlib.contextmanager
def cache_lock(name):
    """Two starts at the same time install once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install_into(target, what, build):
    """Fills `target` by `build(scratch)`, all or nothing: a broken download leaves no trace."""
    with cache_lock(target.name):
        if target.exists():
            return target
        say(f"installing {what} into {target}")
        started = time.monotonic()
        scratch = target.with_name(f"{target.name}.part")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        build(scratch)
        scratch.rename(target)
        say(f"installed {what} in {time.monotonic() - started:.0f} s")
        return target


def make_venv(target, packages, what):
    """A virtual environment, built in place (it contains its own path) and stamped when complete."""
    stamp = target / ".complete"
    with cache_lock(target.name):
        if stamp.exists():
            return target
        python = need("python3", what, "Install Python 3.10 or newer.")
        say(f"installing {what} into {target}")
        started = time.monotonic()
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            run([python, "-m", "venv", target], "creating a virtual environment")
        except ServicesError as error:
            raise ServicesError(f"{error}\nOn Debian and Ubuntu: apt-get install python3-venv") from None
        run([target / "bin/pip", "install", "-q", "--disable-pip-version-check", *packages], f"installing {what}")
        stamp.touch()
        say(f"installed {what} in {time.monotonic() - started:.0f} s")
        return target
