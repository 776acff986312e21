"""`floodmark checkpoint gc` on a bucket: what dead instances left goes, whatever else is there stays."""

import time

from scale import MIX

EVENTS = 5_000


def staged_names(job):
    return job.store.names(f"{job.base}/_staged")


def leave_staged(job, name):
    """A hidden object of the curated output, as an instance that died has left it."""
    path = job.store.plain_path(f"{job.base}/_staged/curated/{name}.staged")
    with job.store.files.open_output_stream(path) as stream:
        stream.write(b"half of a file")
    return path


def test_only_what_dead_instances_left_is_removed_from_a_bucket(make_job, store):
    job = make_job(store)
    job.create_topics()
    job.generate("--rate", "max", "--count", EVENTS, *MIX)
    for _ in range(2):
        report = job.run_until_caught_up()
    assert staged_names(job) == [], "nothing waits after a clean end"

    # A published name, of another epoch, by the first and by the newest instance.
    published = job.store.parquet(job.curated)[0].partition("/curated/")[2]
    directory, _, base = published.rpartition("/")
    part, _epoch, generation, *rest = base.split("-")
    newest = int(generation) + 10
    by_a_dead_one = leave_staged(job, "/".join([directory, "-".join([part, "99", "1", *rest])]))
    by_a_living_one = leave_staged(job, "/".join([directory, "-".join([part, "99", str(newest), *rest])]))
    by_a_start = leave_staged(job, "_probe-0123456789abcdef")
    of_somebody_else = leave_staged(job, "notes.txt")
    there = job.store.names(job.base)

    assert "would remove 0 objects" in job.command("checkpoint", "gc", job.file, "--dry-run").stdout, "all is young"
    # Ages are those of the server's clock, some of which count in seconds.
    time.sleep(2.5)
    gc = "checkpoint", "gc", job.file, "--older-than", "1s"
    announced = job.command(*gc, "--dry-run").stdout
    assert job.store.names(job.base) == there, "a dry run has removed something"

    said = job.command(*gc).stdout

    assert said == announced.replace("would remove", "removed")
    assert "AbortIncompleteMultipartUpload" in said, "what cannot be listed is not mentioned"
    gone = set(there) - set(job.store.names(job.base))
    # Beside checkpoints that newer ones have replaced.
    assert {name for name in gone if "/_chk/manifest/" not in name} == {by_a_dead_one, by_a_start}, said
    assert staged_names(job) == sorted([by_a_living_one, of_somebody_else])
    for left in staged_names(job):
        job.store.files.delete_file(left)
    job.verify(report)
    job.generate("--rate", "max", "--count", EVENTS, *MIX)
    job.run_until_caught_up()
