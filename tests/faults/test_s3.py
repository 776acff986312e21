"""An S3 server that stops, refuses, forgets to answer, or is slow."""

import time
import urllib.parse

import pytest
from faulty_job import OUTAGE_SECONDS
from s3_proxy import abandon, cut_answer, cut_request, fail_afterwards, refuse, repeat, slow
from service_lib.s3 import s3_answer
from waiting import wait_until

BUCKET = "faults"
# Files of a window that take more than one part of 8 MiB.
BIG_FILES = {
    "count(*) AS events,": "repeat(device_id, 20000) AS padding, count(*) AS events,",
    "partition_by = {": 'compression = "none"\npartition_by = {',
}
# Requests that only big files need.
OF_UPLOADS = ("create", "part", "complete")
# Uploads that are abandoned before a test of them has seen enough.
ABANDONED = 8


def sized(kind):
    return BIG_FILES if kind in OF_UPLOADS else {}


def under_load(job, fault, epochs=6):
    """Runs a job while a fault acts for some checkpoints; the same process must end exactly."""
    job.create_topics()
    with job.load(seconds=15):
        run = job.start()
        job.wait_for_epochs(run, 2)
        with fault:
            job.wait_for_epochs(run, epochs)
    return job.goes_on_by_itself(run)


def test_a_server_that_stops_and_comes_back_is_waited_for(make_job, servers, s3):
    job = make_job(s3)
    job.create_topics()
    with job.load(seconds=15):
        run = job.start()
        job.wait_for_epochs(run, 3)
        servers.stop(s3.name)
        time.sleep(OUTAGE_SECONDS)
        servers.start(s3.name)
        job.wait_for_epochs(run, 2)
    job.goes_on_by_itself(run)
    text = run.output()
    assert "store does not answer" in text and "store answers again" in text, text[-4000:]


@pytest.mark.ci
def test_503_slow_down_is_waited_out(make_job, one_s3, proxy):
    between = proxy(one_s3)
    job = make_job(one_s3, between)
    under_load(job, between.doing(refuse(503, "SlowDown"), every=3))


@pytest.mark.parametrize("kind", ["put_new", "put", pytest.param("copy", marks=pytest.mark.ci), "delete", *OF_UPLOADS])
def test_500_after_the_work_was_done_repeats_nothing(make_job, s3, proxy, kind):
    between = proxy(s3)
    job = make_job(s3, between, **sized(kind))
    under_load(job, between.doing(fail_afterwards(500, "InternalError"), kind, every=2), epochs=4)


def test_a_connection_cut_in_mid_part_has_the_part_sent_again(make_job, one_s3, proxy):
    between = proxy(one_s3)
    job = make_job(one_s3, between, **BIG_FILES)
    under_load(job, between.doing(cut_request, "part", every=2))


@pytest.mark.parametrize("kind", ["put_new", "put", "copy", "delete", "part", "complete"])
def test_a_connection_cut_before_the_answer_repeats_nothing(make_job, s3, proxy, kind):
    between = proxy(s3)
    job = make_job(s3, between, **sized(kind))
    under_load(job, between.doing(cut_answer, kind, every=2), epochs=4)


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["copy", "complete"])
def test_a_copy_or_complete_that_arrives_twice_shows_the_file_once(make_job, s3, proxy, kind):
    """SeaweedFS answers the second complete with success, MinIO with NoSuchUpload."""
    between = proxy(s3)
    job = make_job(s3, between, **sized(kind))
    under_load(job, between.doing(repeat, kind))


@pytest.mark.ci
def test_an_upload_abandoned_while_it_is_completed_costs_no_row(make_job, s3, proxy):
    """MinIO forgets the parts before it notices that the client has gone, and never makes the object. No
    checkpoint names it yet: a run ends, if it cannot help it, and the next reads the rows again."""
    between = proxy(s3)
    job = make_job(s3, between, **BIG_FILES)
    job.create_topics()
    with job.load(seconds=15), between.doing(abandon, "complete", path="/_staged/curated/") as fault:
        while fault.hits < ABANDONED:
            run = job.start()
            wait_until("uploads are abandoned", lambda r=run: fault.hits >= ABANDONED or r.process.poll() is not None)
            if run.process.poll() is not None:
                message = job.stops_saying(run, "curated", "its rows are read again")
                assert "is missing" not in message
    run.process.kill()
    run.process.wait()
    job.ends_exactly()


@pytest.mark.ci
def test_a_copy_abandoned_while_the_server_makes_it_is_made_again(make_job, s3, proxy):
    between = proxy(s3)
    job = make_job(s3, between)
    under_load(job, between.doing(abandon, "copy", every=2))


def test_a_line_of_one_kilobyte_a_second_delays_and_nothing_else(make_job, one_s3, proxy):
    between = proxy(one_s3)
    job = make_job(one_s3, between)
    job.create_topics()
    with job.load(seconds=10, rate=100):
        run = job.start()
        job.wait_for_epochs(run, 2)
        with between.doing(slow(1_000), "part", "put", "put_new"):
            job.wait_for_epochs(run, 1)
    job.goes_on_by_itself(run)


def test_a_bucket_that_is_removed_ends_the_run_with_its_name(make_job, one_s3, proxy):
    """The proxy says what a server without the bucket says; the real one keeps the files, as if the
    bucket were restored."""
    between = proxy(one_s3)
    job = make_job(one_s3, between)
    job.create_topics()
    with job.load(seconds=10):
        run = job.start()
        job.wait_for_epochs(run, 3)
        with between.doing(refuse(404, "NoSuchBucket", "The specified bucket does not exist")):
            job.stops_saying(run, BUCKET, "bucket")
            started = job.command("run", job.file, check=1, timeout=60)
            assert BUCKET in started.stderr and "Create the bucket" in started.stderr
    job.ends_exactly()


def test_keys_that_are_changed_while_it_runs_end_the_run_and_are_named(make_job, one_s3, proxy):
    between = proxy(one_s3)
    job = make_job(one_s3, between)
    job.create_topics()
    with job.load(seconds=10):
        run = job.start()
        job.wait_for_epochs(run, 3)
        said = "The AWS Access Key Id you provided does not exist in our records."
        with between.doing(refuse(403, "InvalidAccessKeyId", said)):
            message = job.stops_saying(run, "s3://", "access_key_id")
    assert job.env["AWS_SECRET_ACCESS_KEY"] not in message.replace(job.env["AWS_ACCESS_KEY_ID"], "")
    job.ends_exactly()


def abort(servers, store, path, upload):
    """What a lifecycle rule does to an upload that has waited for too long."""
    query = f"uploadId={urllib.parse.quote(upload, safe='')}"
    status, body = s3_answer(store.endpoint, "DELETE", path, servers.owner_keys(store.name), query)
    assert status in (200, 204), body


def test_an_upload_that_expires_before_its_checkpoint_is_read_again(make_job, servers, s3, proxy):
    """The rows of a file whose upload is gone when its part arrives: the run ends, and the next one reads
    them again from the offsets of the newest checkpoint."""
    between = proxy(s3)
    job = make_job(s3, between, **BIG_FILES)
    job.create_topics()
    with job.load(seconds=15):
        run = job.start()
        job.wait_for_epochs(run, 3)

        def expire(exchange):
            url = urllib.parse.urlsplit(exchange.handler.path)
            abort(servers, s3, url.path, urllib.parse.parse_qs(url.query)["uploadId"][0])
            exchange.answer(exchange.forward(exchange.read_body()))

        with between.doing(expire, "part", path="/curated/", times=1):
            job.stops_saying(run, "curated", "its rows are read again")
    job.ends_exactly()


@pytest.mark.ci
def test_a_staged_file_that_expires_after_its_checkpoint_is_missed_and_the_topic_still_has_its_rows(
    make_job, s3, proxy
):
    """A rule removed what waited. The next start refuses to go on without those rows; with new paths
    everything is read again from the topic."""
    between = proxy(s3)
    job = make_job(s3, between)
    job.create_topics()
    with job.load(seconds=15):
        run = job.start()
        job.wait_for_epochs(run, 2)
        with between.doing(refuse(503, "SlowDown"), "copy", path="/curated/") as refusal:
            wait_until("files wait for being copied", lambda: refusal.hits, run=run)
            run.process.kill()
            run.process.wait()
    waiting = staged(job)
    assert waiting
    for file in waiting:
        s3.files.delete_file(s3.plain_path(hidden(job, file)))
    refused = job.command("run", job.file, "--until-caught-up", check=1)
    assert "data of this commit is missing" in refused.stderr, refused.stderr

    again = make_job(s3)
    again.source = job.source
    again.write_file()
    again.create_topics()
    again.ends_exactly()


def test_nothing_that_was_staged_is_left_after_a_run(make_job, s3):
    job = make_job(s3)
    job.create_topics()
    job.fill()
    job.ends_exactly()
    assert s3.parquet(job.curated) and not s3.names(f"{job.base}/_staged")


def staged(job):
    """The files that the newest checkpoint says are waiting."""
    work = job.newest_manifest()["sinks"]["curated"]["work"]
    return [file["staged"] for file in work["files"]]


def hidden(job, file):
    """Where a staged file of the curated output waits: beside the output."""
    name = file["place"]["file"]["hidden"]
    return f"{job.base}/_staged/curated/{name.removeprefix('_staged/')}"
