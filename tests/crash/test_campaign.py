"""The count of what is lost or there twice finds what is planted."""

import os
import shutil

import pytest
from campaign import Campaign, count, recovery
from places import Servers
from steps import NEVER, Script


@pytest.fixture
def finished(tmp_path, shim, portions):
    """A job that has run undisturbed, and its report."""
    with Servers() as servers, servers.place("embedded-local", tmp_path) as place:
        script = Script(place, shim, portions)
        assert not script.first_run(NEVER)
        yield script.job, script.last_run()


def wrong(job, report):
    """(lost, duplicated) rows of all outputs, and whether the checks object."""
    model, problems = job.findings(report, every_reader=False)
    figures = count(model, job)
    assert figures["rows"] > 0
    return figures["lost"], figures["duplicated"], bool(problems)


def test_an_undisturbed_run_counts_as_clean(finished):
    assert wrong(*finished) == (0, 0, False)


def test_a_file_that_is_there_twice_counts_as_duplicates(finished):
    job, report = finished
    path = job.store.parquet(job.curated)[0]
    shutil.copy(path, path.replace(".parquet", "-again.parquet"))
    lost, duplicated, objected = wrong(job, report)
    assert (lost, objected) == (0, True) and duplicated > 0


def test_a_missing_file_counts_as_lost(finished):
    job, report = finished
    for path in job.store.parquet(job.curated):
        os.remove(path)
    lost, duplicated, objected = wrong(job, report)
    assert (duplicated, objected) == (0, True) and lost > 0


def test_an_alert_that_is_there_twice_counts_as_a_duplicate(finished):
    job, report = finished
    record = next(iter(job.topics.read(job.alerts)))
    job.topics.write(job.alerts, [(record.key, record.value, record.partition)])
    assert wrong(job, report) == (0, 1, True)


def test_a_pipeline_that_ends_by_itself_is_a_finding(tmp_path):
    with Servers() as servers, servers.place("embedded-local", tmp_path) as place:
        campaign = Campaign(place, seed=1)
        campaign.job.file.write_text("name = 1")
        campaign.cycle(measured=True)
        assert campaign.problems and campaign.kills == 0


def test_percentiles_are_of_the_slowest():
    figures = recovery([n / 1000 for n in range(1, 201)])
    assert (figures["recovery_p99_ms"], figures["recovery_slowest_ms"], figures["recoveries"]) == (198, 200, 200)
