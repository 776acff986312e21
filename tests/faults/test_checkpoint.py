"""A checkpoint that is not what was written: refused with what to do, never half-read."""

import re
from pathlib import Path

import pytest


@pytest.fixture
def stopped(make_job, local_store):
    """A job that has run half of its way, with open windows in its checkpoint."""
    job = make_job(local_store)
    job.create_topics()
    job.fill()
    run = job.start()
    job.wait_until_read(run)
    run.terminate()
    assert job.newest_manifest()["files"], "the checkpoint has no state file to damage"
    return job


def folder(job):
    return Path(job.checkpoint.removeprefix("file://"))


def newest(job):
    return sorted((folder(job) / "manifest").iterdir())[-1]


def state(job):
    return folder(job) / next(iter(job.newest_manifest()["files"]))


def visible(job):
    """Everything that stands in files, and how much in topics."""
    files = {path: path.read_bytes() for path in sorted(folder(job).parent.rglob("*")) if path.is_file()}
    return files, job.topics.ends(job.alerts), job.topics.ends(job.dead)


def refused(job, path, damage, *words):
    """With the damage the job is refused, shows nothing and changes nothing; without it, it goes on."""
    good = path.read_bytes()
    path.write_bytes(damage(good))
    before = visible(job)
    done = job.command("run", job.file, "--until-caught-up", check=1)
    for word in (path.name, *words):
        assert word in done.stderr, f"no “{word}” in {done.stderr}"
    assert "panicked" not in done.stderr
    after = visible(job)
    if path == newest(job):
        assert after == before
    path.write_bytes(good)


def flipped(at):
    def damage(good):
        place = int(len(good) * at)
        return good[:place] + bytes([good[place] ^ 0x20]) + good[place + 1 :]

    return damage


WAY_OUT = ("Restore", "new checkpoint path")


@pytest.mark.ci
@pytest.mark.parametrize("which", [newest, state], ids=["manifest", "state file"])
def test_flipped_and_truncated_bytes_are_refused(stopped, which):
    path = which(stopped)
    for at in (0.0, 0.01, 0.3, 0.7, 0.99):
        refused(stopped, path, flipped(at), *WAY_OUT)
        path = which(stopped)
    for damage in (lambda good: b"", lambda good: good[:-1], lambda good: good[: len(good) // 2]):
        refused(stopped, path, damage, *WAY_OUT)
        path = which(stopped)
    stopped.ends_exactly()


@pytest.mark.ci
def test_a_newer_version_is_refused_with_the_advice_to_run_it(stopped):
    def newer(good):
        changed = re.sub(rb"^floodmark-checkpoint \d+ ", b"floodmark-checkpoint 99 ", good)
        assert changed != good
        return changed

    refused(stopped, newest(stopped), newer, "format 99", "newer Floodmark")
    stopped.ends_exactly()


@pytest.mark.ci
def test_another_pipelines_checkpoint_is_refused(stopped, make_job, local_store):
    other = make_job(local_store)
    other.create_topics()
    other.fill(1_000)
    mine, other.checkpoint = other.checkpoint, stopped.checkpoint
    other.write_file()
    before = visible(stopped)
    done = other.command("run", other.file, "--until-caught-up", check=1)
    assert f"belongs to pipeline '{stopped.name}'" in done.stderr
    assert "checkpoint path of its own" in done.stderr
    assert visible(stopped) == before
    other.checkpoint = mine
    other.write_file()
    other.ends_exactly()
    stopped.ends_exactly()


def test_a_state_file_that_is_missing_is_refused(stopped):
    path = state(stopped)
    good = path.read_bytes()
    path.unlink()
    done = stopped.command("run", stopped.file, "--until-caught-up", check=1)
    assert path.name in done.stderr and "is missing" in done.stderr
    path.write_bytes(good)
    stopped.ends_exactly()


@pytest.mark.ci
@pytest.mark.parametrize("kept", [1, 0], ids=["an older one is there", "none is there"])
def test_the_newest_manifest_missing_is_noticed_and_no_older_one_is_used(stopped, kept):
    manifests = sorted((folder(stopped) / "manifest").iterdir())
    assert len(manifests) > 1
    gone = {path: path.read_bytes() for path in (manifests[-1:] if kept else manifests)}
    for path in gone:
        path.unlink()
    before = visible(stopped)
    done = stopped.command("run", stopped.file, "--until-caught-up", check=1)
    for word in (f"checkpoint {int(manifests[-1].stem)} is missing", manifests[-1].name, "backup", "new checkpoint"):
        assert word in done.stderr, done.stderr
    assert visible(stopped) == before
    for path, good in gone.items():
        path.write_bytes(good)
    stopped.ends_exactly()
