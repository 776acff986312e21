"""Death at every step: whatever step a run dies at, and again while it recovers, nothing is lost and
nothing is there twice.

FLOODMARK_CRASH_EVERY=1 walks all steps; by default every tenth is tried, and FLOODMARK_CRASH_SEED says
which ones. With FLOODMARK_CRASH_REPORT=FILE one line of JSON a walk goes into that file.
"""

import collections
import itertools
import json
import os
import random
import shutil

import pytest
from steps import BIG_FILES, EVERY, NEVER, SEED, Death, Script

REPORT = os.environ.get("FLOODMARK_CRASH_REPORT")
# Two deaths in a row, at places drawn at random: how many pairs are tried a place.
PAIRS = int(os.environ.get("FLOODMARK_CRASH_PAIRS") or max(3, 40 // EVERY))
# Runs differ in how many steps they take: a walk is at its end when this many in a row have survived.
SURVIVORS = 2
# Where a walk begins: early, however few steps it tries, for some have few to offer.
FIRST = 1 + SEED % min(EVERY, 10)
# A walk that has found this much is over.
ENOUGH_FAILURES = 3
# Only where a server does the work is dying after a step other than dying before the next one.
REQUESTS = ("kafka ", "http ")
# What steps are about; of `_staged/curated` the first.
TARGETS = ("_staged", "manifest", "state", "curated", "late")


class Walk:
    """Cases of one test: what was hit, and what was wrong."""

    def __init__(self, what, place, shim, portions, replacements=None):
        self.what, self.place, self.shim, self.portions = what, place, shim, portions
        self.replacements = replacements
        self.cases, self.late, self.hit, self.failures = 0, 0, collections.Counter(), []

    def case(self, first, last=NEVER):
        """Two runs, each with its death, then one that finishes; whether each of them died."""
        script = Script(self.place, self.shim, self.portions, self.replacements)
        died = [script.first_run(first)]
        report = script.last_run(last)
        died.append(report is None)
        if report is None:
            report = script.last_run()
            assert report is not None, "a run died that should not"
        self.cases += 1
        for number, dead in enumerate(died):
            if dead:
                self.hit[kind(script.steps(number)[-1])] += 1
        model, problems = script.verify(report)
        self.late += len(model.late)
        if problems:
            self.failures.append(f"{self.place.name}, {first}, then {last}, in {script.job.folder}:")
            self.failures += [f"    {problem}" for problem in problems]
        else:
            self.place.forget(script.job)
            shutil.rmtree(script.job.folder)
        return died

    def along(self, steps, case):
        """Dies at one step after the other, until there are no more."""
        survived = 0
        for death in steps:
            survived = 0 if case(death) else survived + 1
            if survived == SURVIVORS or self.over():
                return

    def over(self):
        return sum(not line.startswith(" ") for line in self.failures) >= ENOUGH_FAILURES

    def finish(self):
        deaths = self.hit.total()
        figures = {
            "place": self.place.name,
            "walk": self.what,
            "every": EVERY,
            "cases": self.cases,
            "deaths": deaths,
            "late_rows": self.late,
            "at": dict(self.hit.most_common()),
            "failures": self.failures,
        }
        print(json.dumps(figures))
        if REPORT:
            with open(REPORT, "a") as file:
                file.write(json.dumps(figures) + "\n")
        assert not self.failures, "\n".join(self.failures)
        assert deaths, "nothing died: the walk proves nothing"


def kind(step):
    """What a step does, without names: a line of the log is a number, a kind and the rest."""
    _, what, rest = step.split(" ", 2)
    if what == "kafka":
        return f"kafka {rest}"
    target = next((part for part in TARGETS if f"/{part}" in rest), "other")
    if what == "http":
        query = rest.partition("?")[2]
        part = "uploads" if query == "uploads" else query.partition("=")[0] or "object"
        return f"http {rest.partition(' ')[0]} {target} {part}"
    return f"{what} {target}"


# The first time that a file becomes visible: the manifest is durable, its work is not done.
PUBLISHING = Death(1, only=".parquet\n")


def deaths(after):
    """Every death of a walk, one series a kind of step that is counted by itself."""
    return [series(True, only) for only in REQUESTS] if after else [series(False, "")]


def series(after, only):
    return (Death(number, after, only) for number in itertools.count(FIRST, EVERY))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_run_may_die_at_any_step(place, shim, portions, after):
    walk = Walk(f"run, {'after a request' if after else 'before a step'}", place, shim, portions)
    for steps in deaths(after):
        walk.along(steps, lambda death: walk.case(death)[0])
    walk.finish()
    assert walk.late, "no case had late rows: they are not covered"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_recovery_may_die_at_any_step(place, shim, portions, after):
    walk = Walk(f"recovery, {'after a request' if after else 'before a step'}", place, shim, portions)

    def case(death):
        first, again = walk.case(PUBLISHING, death)
        assert first, "the first run did not die where it should"
        return again

    for steps in deaths(after):
        walk.along(steps, case)
    walk.finish()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_run_may_die_at_any_request_of_an_upload(place, shim, portions, after):
    """After a request means while the server works on it: there MinIO loses an upload that is being
    completed."""
    if not place.store.endpoint:
        pytest.skip("files on a disk are not uploaded in parts")
    what = f"big files, {'after' if after else 'before'} a request of an upload"
    walk = Walk(what, place, shim, portions, BIG_FILES)
    walk.along(series(after, "upload"), lambda death: walk.case(death)[0])
    walk.finish()


def test_a_run_and_its_recovery_may_die_one_after_the_other(place, shim, portions):
    walk = Walk("run and recovery, anywhere", place, shim, portions)
    script = Script(place, shim, portions)
    assert not script.first_run(NEVER)
    assert not script.verify(script.last_run())[1]
    most = len(script.steps(0)), len(script.steps(1))
    drawn = random.Random(SEED)
    for _ in range(PAIRS):
        walk.case(*(Death(drawn.randint(1, number), drawn.random() < 0.5) for number in most))
        if walk.over():
            break
    walk.finish()
