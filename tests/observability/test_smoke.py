"""The smoke test as somebody's CI runs it: on the stack, on files, and where there is nothing."""

import os
import subprocess
import sys
import time

from topics import Topics

# What scripts/smoke promises.
PROMISED_SECONDS = 120


def smoke(root, environment, *args):
    started = time.monotonic()
    command = [sys.executable, str(root / "scripts/smoke"), *args]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2 * PROMISED_SECONDS)
    return done.returncode, done.stdout, done.stderr, time.monotonic() - started


def test_it_passes_on_the_stack_in_time_and_leaves_nothing_behind(root, stack, stack_environment):
    topics = Topics(stack.variables["KAFKA_BROKERS"])
    before = set(topics.admin.list_topics(timeout=10).topics)
    code, said, complaints, seconds = smoke(root, stack_environment)
    assert code == 0, said + complaints
    assert said.count("  ok ") == 10
    assert f"the instance at {stack.url('floodmark')} is ready" in said
    assert said.splitlines()[-1].startswith("passed in ")
    assert seconds < PROMISED_SECONDS
    assert set(topics.admin.list_topics(timeout=10).topics) == before


def test_it_passes_without_a_store_on_local_files(root, stack_environment):
    environment = {
        name: value for name, value in stack_environment.items() if name not in ("AWS_ENDPOINT_URL", "FLOODMARK_URL")
    }
    code, said, complaints, _ = smoke(root, environment, "--events", "5000")
    assert code == 0, said + complaints
    assert "files in file:///" in said


def test_a_missing_server_is_named(root, stack_environment):
    for variable, value in (("KAFKA_BROKERS", "127.0.0.1:1"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:1")):
        code, _, complaints, seconds = smoke(root, stack_environment | {variable: value})
        assert code == 2
        assert "127.0.0.1:1" in complaints
        assert seconds < 30


def test_without_servers_it_says_how_to_get_some(root):
    environment = {name: value for name, value in os.environ.items() if name != "KAFKA_BROKERS"}
    code, _, complaints, _ = smoke(root, environment)
    assert code == 2
    assert "scripts/services stack up" in complaints


def test_an_instance_that_is_not_there_fails_it(root, stack_environment):
    code, said, _, _ = smoke(root, stack_environment | {"FLOODMARK_URL": "http://127.0.0.1:1"}, "--events", "1000")
    assert code == 1
    assert "FAILED    the instance at http://127.0.0.1:1 is ready" in said
    assert said.splitlines()[-1].startswith("FAILED in ")
