"""What cannot work ends soon, says on which object and what to do, and loses nothing."""

import contextlib
import os
import socket
import subprocess
import time
import uuid

import pytest
from readers import Store
from scale import MIX

LIMIT_SECONDS = 30
SMALL = 50_000


def fails(job, *names, env=None):
    """The run ends with exit code 1 within the limit and its message holds each of `names`; of a
    tuple, one of them."""
    started = time.monotonic()
    done = job.command("run", job.file, "--until-caught-up", check=1, timeout=LIMIT_SECONDS * 2, env=env)
    elapsed = time.monotonic() - started
    assert elapsed < LIMIT_SECONDS, f"took {elapsed:.0f} s:\n{done.stderr[-3000:]}"
    message = done.stderr.lower()
    for name in names:
        choices = name if isinstance(name, tuple) else (name,)
        assert any(choice.lower() in message for choice in choices), f"none of {choices} in:\n{done.stderr[-3000:]}"
    assert "panicked" not in message
    return done.stderr


@pytest.fixture
def filled_job(make_job, one_store):
    job = make_job(one_store)
    job.create_topics()
    job.generate("--rate", "max", "--count", SMALL, *MIX)
    return job


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_missing_topic_is_named_with_the_command_that_makes_it(make_job, one_store):
    job = make_job(one_store)
    fails(job, job.source, "topics create")


def test_a_missing_alert_topic_is_named_with_the_command_that_makes_it(make_job, topics, one_store):
    job = make_job(one_store)
    topics.create(job.source)
    topics.create(job.dead)
    fails(job, job.alerts, "topics create")


def test_a_broker_that_does_not_answer_is_named(filled_job):
    address = f"127.0.0.1:{unused_port()}"
    fails(filled_job, address, ("brokers", "KAFKA_BROKERS"), env={"KAFKA_BROKERS": address})
    filled_job.verify(filled_job.run_until_caught_up())


def test_topics_create_names_a_broker_that_does_not_answer(filled_job):
    address = f"127.0.0.1:{unused_port()}"
    started = time.monotonic()
    done = filled_job.command("topics", "create", filled_job.file, check=1, env={"KAFKA_BROKERS": address})
    assert time.monotonic() - started < LIMIT_SECONDS
    assert address in done.stderr


def test_a_missing_bucket_is_named(filled_job):
    bucket = f"missing-{uuid.uuid4().hex[:8]}"
    job = filled_job
    good, (_, prefix) = job.file.read_text(), job.base.removeprefix("s3://").split("/", 1)
    job.file.write_text(good.replace(job.base, f"s3://{bucket}/{prefix}"))
    fails(job, bucket, "bucket")
    job.file.write_text(good)
    job.verify(job.run_until_caught_up())


def test_a_missing_bucket_of_one_output_is_named(filled_job):
    bucket = f"missing-{uuid.uuid4().hex[:8]}"
    job = filled_job
    good = job.file.read_text()
    job.file.write_text(good.replace(job.curated, f"s3://{bucket}/curated"))
    fails(job, bucket, "bucket")
    job.file.write_text(good)
    job.verify(job.run_until_caught_up())


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys_are_said_to_be_wrong_and_are_not_shown(filled_job, variable):
    message = fails(filled_job, "s3://", ("access key", "AWS_SECRET_ACCESS_KEY"), env={variable: "notthekey"})
    assert "notthekey" not in message or variable == "AWS_ACCESS_KEY_ID"
    filled_job.verify(filled_job.run_until_caught_up())


def test_an_s3_server_that_does_not_answer_is_named(filled_job):
    address = f"127.0.0.1:{unused_port()}"
    fails(filled_job, address, env={"AWS_ENDPOINT_URL": f"http://{address}"})
    filled_job.verify(filled_job.run_until_caught_up())


@pytest.mark.parametrize("part", ["curated", "late", "_chk"])
def test_a_directory_that_cannot_be_written_is_named(make_job, local_store, tmp_path, part):
    job = make_job(local_store)
    job.create_topics()
    job.generate("--rate", "max", "--count", SMALL, *MIX)
    base = tmp_path / job.name
    base.mkdir()
    # A file in its place: permissions alone do not stop root.
    blocker = base / part
    blocker.write_text("not a directory")
    fails(job, str(blocker))
    assert blocker.read_text() == "not a directory"
    blocker.unlink()
    job.verify(job.run_until_caught_up())


@contextlib.contextmanager
def tmpfs(folder, size):
    """A small file system of its own, for root."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("part", ["curated", "_chk"])
def test_a_full_disk_is_named_and_loses_nothing(make_job, local_store, topics, tmp_path, part):
    job = make_job(local_store)
    with tmpfs(tmp_path / "small", "64k") as folder:
        # Incompressible filler leaves a few kilobytes: room to begin, not to end.
        (folder / "filler").write_bytes(os.urandom(48 * 1024))
        target = f"file://{folder}/{part}"
        setattr(job, "curated" if part == "curated" else "checkpoint", target)
        job.write_file()
        job.create_topics()
        job.generate("--rate", "max", "--count", SMALL, *MIX)

        fails(job, str(folder), ("space", "full"))

        subprocess.run(["mount", "-o", "remount,size=256m", str(folder)], check=True)
        (folder / "filler").unlink()
        job.verify(job.run_until_caught_up())
