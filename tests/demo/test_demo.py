"""The demo, from nothing to results, whatever ends it."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from demo import ALERTS, Demo, taken

KILLS = int(os.environ.get("FLOODMARK_DEMO_KILLS") or 2)
SEED = int(os.environ.get("FLOODMARK_DEMO_SEED") or 42)
# From the start of the process, as promised.
FIRST_RESULTS_SECONDS = 15

FIRST_ALERT = """
import sys, time
from confluent_kafka import Consumer
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": "first", "auto.offset.reset": "earliest",
                     "isolation.level": "read_committed"})
consumer.subscribe([sys.argv[2]])
while True:
    message = consumer.poll(0.1)
    if message and not message.error():
        print(time.time())
        break
"""


@pytest.fixture
def demo(tmp_path):
    return Demo(tmp_path)


def test_the_first_alert_and_the_first_file_are_there_soon(demo):
    started = time.time()
    process = demo.start("--for", "20s")
    broker = process.broker()
    consumer = subprocess.Popen([sys.executable, "-c", FIRST_ALERT, broker, ALERTS], stdout=subprocess.PIPE, text=True)
    try:
        while not demo.files():
            assert time.time() < started + 60, f"no file:\n{process.output()}"
            time.sleep(0.05)
        first_file = time.time() - started
        first_alert = float(consumer.communicate(timeout=60)[0]) - started
    finally:
        consumer.kill()
        consumer.wait()
    output = process.end()
    print(f"first alert after {first_alert:.1f} s, first file after {first_file:.1f} s")
    assert max(first_alert, first_file) <= FIRST_RESULTS_SECONDS

    model = demo.verify()
    assert model.read > 15_000
    assert demo.events_in_files() == taken(output, "curated")


def test_ctrl_c_keeps_open_windows_for_the_next_start(demo):
    process = demo.start()
    process.broker()
    while not demo.files():
        time.sleep(0.05)
    first = process.end(signal.SIGINT)
    assert demo.events_in_files() < taken(first, "curated")
    second = demo.start("--for", "5s").end()
    assert demo.events_in_files() == taken(second, "curated") > taken(first, "curated")
    demo.verify()


def test_a_demo_goes_on_behind_windows_that_were_closed(demo):
    demo.start("--for", "5s").end()
    demo.start("--for", "5s").end()
    model = demo.verify()
    # Late on purpose are two in a thousand; a window that was closed too early would make hundreds.
    assert len(model.late) < model.read / 200


def test_killed_at_any_moment_nothing_is_lost_and_nothing_is_there_twice(demo):
    moments = random.Random(SEED)
    for _ in range(KILLS):
        process = demo.start("--rate", "500")
        process.broker()
        time.sleep(moments.uniform(0.0, 12.0))
        process.kill()
    output = demo.start("--for", "15s").end()
    model = demo.verify()
    print(f"{KILLS} kills: {model.read} events")
    assert demo.events_in_files() == taken(output, "curated")
