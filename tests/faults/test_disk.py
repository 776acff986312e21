"""A local disk that becomes full or read-only while the pipeline writes to it."""

import contextlib
import os
import subprocess

import pytest


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, for root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def full(folder):
    """No byte is left, as when something else fills the disk."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    yield
    filler.unlink()


def on_disk(make_job, local_store, folder, part):
    job = make_job(local_store)
    setattr(job, part, f"file://{folder}/{part}")
    job.write_file()
    job.create_topics()
    return job


@pytest.mark.parametrize("part", ["curated", "checkpoint"])
def test_a_disk_that_becomes_full_ends_the_run_and_with_room_it_goes_on(make_job, local_store, small_disk, part):
    job = on_disk(make_job, local_store, small_disk, part)
    with job.load(seconds=15):
        run = job.start()
        job.wait_for_epochs(run, 3)
        with full(small_disk):
            job.stops_saying(run, str(small_disk), "space")
    job.ends_exactly()


@pytest.mark.ci
@pytest.mark.parametrize("part", ["curated", "checkpoint"])
def test_a_directory_made_read_only_ends_the_run_and_writable_again_it_goes_on(
    make_job, local_store, small_disk, part
):
    """By mounting: permissions do not stop root."""
    job = on_disk(make_job, local_store, small_disk, part)
    with job.load(seconds=15):
        run = job.start()
        job.wait_for_epochs(run, 3)
        # Refused as long as a file is open for writing.
        while subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], capture_output=True).returncode:
            assert run.process.poll() is None, run.output()
        job.stops_saying(run, str(small_disk), "read-only")
        remount(small_disk, "rw")
    job.ends_exactly()
