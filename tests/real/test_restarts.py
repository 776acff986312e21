"""Stopped on the way: the results are those of a run that was never stopped."""

import random
import subprocess
import time

import pytest
from floodmark import binary
from scale import EVENTS, MIX, SEED

STOPS = 5
# Long enough for five runs to start, read and drain while events still arrive.
GENERATION_SECONDS = 40


def next_offsets(report):
    partitions = report["sources"]["sensor_events"]["partitions"].values()
    return sum(partition["next_offset"] for partition in partitions)


def with_frequent_checkpoints(job):
    job.write_file(**{'interval = "10 seconds"': 'interval = "1 second"'})


def test_five_stops_while_events_arrive_change_nothing(make_job, store):
    random_pause = random.Random(SEED)
    job = make_job(store)
    with_frequent_checkpoints(job)
    job.create_topics()
    rate = max(1, EVENTS // GENERATION_SECONDS)
    # Event time runs faster than the clock, so that windows close between the stops.
    mix = [*MIX, "--speed", "20", "--rate", rate, "--count", EVENTS]
    with open(job.folder / "generate.log", "w") as log:
        generator = subprocess.Popen([binary(), *job.generate_args(*mix)], env=job.env, stdout=log, stderr=log)
    try:
        positions = []
        for _ in range(STOPS):
            run = job.start()
            time.sleep(random_pause.uniform(1.0, 5.0))
            positions.append(next_offsets(run.terminate()))
        assert generator.wait(600) == 0, (job.folder / "generate.log").read_text()
    finally:
        generator.kill()
        generator.wait()

    report = job.run_until_caught_up()

    model = job.verify(report)
    assert model.read == EVENTS
    assert positions == sorted(positions), f"went back: {positions}"
    assert 0 < positions[0] < positions[-1] < EVENTS, f"the stops were not on the way: {positions}"
    assert model.late, "no late rows"


@pytest.mark.parametrize("pause", [0.3, 0.8, 1.5])
def test_a_stop_in_the_middle_of_a_backlog_changes_nothing(make_job, one_store, pause):
    job = make_job(one_store)
    with_frequent_checkpoints(job)
    job.create_topics()
    job.generate("--rate", "max", "--count", EVENTS, *MIX)
    run = job.start()
    time.sleep(pause)
    if run.process.poll() is None:
        run.process.terminate()
    # Before its handler is in place the signal simply ends it; nothing may be lost by that either.
    run.wait_for_any_end()

    job.verify(job.run_until_caught_up())
