"""Instances that were thought dead, and instances that start together: one runs, the others end with exit
code 3, say who took over, and show nothing more."""

import itertools
import os
import re
import shutil
import signal
import time

import pytest
from scale import START
from steps import EVERY, NEVER, SEED, Death, Script, at_work, is_stopped

# Every which step the walk takes: a zombie takes longer than a death.
ZOMBIES_EVERY = int(os.environ.get("FLOODMARK_CRASH_ZOMBIES_EVERY") or 3 * EVERY)
EVENTS = 2_000
MIX = "--late 0.01 --bad 0.005 --anomalies 0.02 --disorder 5s --devices 20 --interval 5s --rate max".split()
# What any single wait may take on a busy machine.
PATIENCE = 120
FENCED = 3
INSTANCE = re.compile(r"instance=([0-9a-f]{16})")
BLAMED = re.compile(r"error: fenced: instance ([0-9a-f]{16}) \(generation \d+, checkpoint \d+\) has taken this")


@pytest.fixture
def job(place):
    job = place.job()
    # Frequent checkpoints: an instance that was fenced finds out soon.
    job.write_file(**{'interval = "10 seconds"': 'interval = "300 ms"'})
    job.create_topics()
    return job


def write(job, seed):
    job.generate("--count", EVENTS, "--seed", seed, "--start", START, *MIX)


def until(what, holds, runs=()):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"not {what}:\n" + "\n".join(run.output()[-2000:] for run in runs)
        time.sleep(0.02)


def visible(job):
    """Everything a reader sees: files, and the ends of the topics with transactions settled."""
    return (
        tuple(job.store.parquet(job.curated)),
        tuple(job.store.parquet(job.late)),
        sorted(job.read_alerts()),
        [(record.partition, record.offset) for record in job.read_dead_letters()],
    )


def instances(run):
    """The names by which a run claimed the pipeline: one, and a further one for each time it was ousted."""
    return INSTANCE.findall(run.output())


def instance(run):
    """The name by which a run claimed the pipeline first."""
    return next(iter(instances(run)), None)


def blamed(run):
    """Who took over, as a fenced run says."""
    assert run.process.returncode == FENCED, f"exit code {run.process.returncode}:\n{run.output()[-3000:]}"
    found = BLAMED.search(run.output())
    assert found, f"it does not say who took over:\n{run.output()[-3000:]}"
    return found.group(1)


def processed(run):
    return "first records processed" in run.output()


@pytest.fixture
def stopped(job):
    """An instance that is stopped in the middle of its work: it has read, and holds what no checkpoint does."""
    write(job, seed=1)
    run = job.start()
    until("processed", lambda: processed(run), [run])
    run.process.send_signal(signal.SIGSTOP)
    yield run
    run.process.kill()
    run.process.wait()


def test_a_stopped_instance_that_goes_on_is_fenced_and_shows_nothing(job, stopped):
    write(job, seed=2)
    second = job.start("--until-caught-up", "--close-windows")
    report = second.wait(PATIENCE)
    before = visible(job)

    stopped.process.send_signal(signal.SIGCONT)
    stopped.process.wait(PATIENCE)

    assert blamed(stopped) == instance(second)
    assert visible(job) == before
    model = job.verify(report)
    assert model.read == 2 * EVENTS and model.alerts and model.dead


def test_a_stopped_instance_that_goes_on_while_another_works_does_not_disturb_it(job, stopped):
    second = job.start()
    try:
        until("claimed", lambda: instance(second), [second])
        stopped.process.send_signal(signal.SIGCONT)
        write(job, seed=2)
        stopped.process.wait(PATIENCE)
        assert blamed(stopped) == instance(second)
        until("processed", lambda: processed(second), [second])
        second.terminate()
    finally:
        second.process.kill()
        second.process.wait()
    model = job.verify(job.run_until_caught_up())
    assert model.read == 2 * EVENTS


@pytest.mark.parametrize("number", [2, 5])
def test_of_instances_that_start_together_one_runs_on(job, number):
    write(job, seed=1)
    runs = [job.start() for _ in range(number)]
    try:
        until("one left", lambda: len(alive(runs)) == 1, runs)
        (winner,) = alive(runs)
        blames = {blamed(run) for run in runs if run is not winner}
        # Each has lost to a later one, the last of them to the winner.
        assert blames & set(instances(winner))
        assert blames <= {name for run in runs for name in instances(run)}
        # One that has lost may have read everything before; what comes now is left to the winner.
        write(job, seed=2)
        bad = len(job.model().dead)
        until("read to the end", lambda: len(job.read_dead_letters()) == bad, runs)
        winner.terminate()
    finally:
        for run in runs:
            run.process.kill()
            run.process.wait()
    model = job.verify(job.run_until_caught_up())
    assert model.read == 2 * EVENTS


class Zombie:
    """One script whose run is stopped before a step, outlived by another, and then goes on."""

    def __init__(self, script, death):
        self.script, self.job, self.what = script, script.job, str(death)
        self.run = script.drive(death)
        if at_work(self.run):
            # The drain has steps too.
            self.run.process.terminate()
            until("stopped or over", lambda: not at_work(self.run), [self.run])
        self.stopped = is_stopped(self.run)
        # Before its claim it has nothing that could be taken over.
        self.claimed = instance(self.run) is not None

    def outlive(self):
        """The findings."""
        second = self.script.start(NEVER, "--until-caught-up", "--close-windows")
        second.wait(PATIENCE)
        before = visible(self.job)
        self.run.process.send_signal(signal.SIGCONT)
        if not self.claimed:
            until("claimed or fenced", lambda: instance(self.run) or not at_work(self.run), [self.run])
            if at_work(self.run):
                self.run.process.terminate()
        code = self.run.process.wait(PATIENCE)
        problems = []
        if code == FENCED and blamed(self.run) != instance(second):
            problems.append(f"it blames {blamed(self.run)}, not {instance(second)}")
        # One that had nothing left to do but to clean up, or had not begun, ends as usual.
        if code not in (FENCED, 0) or (code == 0 and self.claimed and "drain" not in self.stage()):
            problems.append(f"exit code {code} after {self.stage()}:\n{self.run.output()[-2000:]}")
        if visible(self.job) != before:
            problems.append("it has changed what readers see")
        report = self.script.last_run()
        problems += self.script.verify(report)[1]
        return [f"{self.script.place.name}, stopped {self.what}, in {self.job.folder}: {p}" for p in problems]


def test_an_instance_that_was_stopped_before_any_step_shows_nothing_when_it_goes_on(place, shim, portions):
    problems, cases, codes = [], 0, {}
    for number in itertools.count(1 + SEED % ZOMBIES_EVERY, ZOMBIES_EVERY):
        zombie = Zombie(Script(place, shim, portions), Death(number, by=signal.SIGSTOP))
        try:
            if not zombie.stopped:
                break
            cases += 1
            found = zombie.outlive()
            codes[zombie.run.process.returncode] = codes.get(zombie.run.process.returncode, 0) + 1
        finally:
            zombie.run.process.kill()
            zombie.run.process.wait()
        problems += found
        if len(problems) > 3:
            break
        if not found:
            place.forget(zombie.job)
            shutil.rmtree(zombie.job.folder)
    print(f"{place.name}: {cases} zombies, exit codes {codes}")
    assert not problems, "\n".join(problems)
    assert codes.get(FENCED), "none was fenced"


def alive(runs):
    return [run for run in runs if run.process.poll() is None]
