"""The main job: JSON events from Kafka become windows in Parquet and alerts in Kafka, each exactly once."""

from scale import EVENTS, MIX


def test_windows_alerts_dead_letters_and_late_rows_equal_an_independent_computation(make_job, store):
    job = make_job(store)
    job.create_topics()
    generated = job.generate("--rate", "max", "--count", EVENTS, *MIX)

    report = job.run_until_caught_up()

    model = job.verify(report)
    assert model.read == EVENTS
    assert generated["events"] == EVENTS
    assert generated["bad"] == model.bad + model.null_time
    # The mix must be there, or the comparison proves little.
    assert len(model.next_offset) == 3
    assert model.late, "no late rows"
    assert model.alerts, "no alerts"
    assert model.bad > EVENTS * 0.0005
    assert report["outputs"]["curated"]["rows"] == len(model.windows)
    assert report["outputs"]["curated"]["files"] == len(store.parquet(job.curated))
    assert report["outputs"]["alerts"]["rows"] == model.alerts.total()
    assert report["dead_letter"]["rows"] == len(model.dead)
    assert report["late"]["rows"] == len(model.late)


def test_topics_create_is_repeatable_and_makes_three_partitions(make_job, topics, one_store):
    job = make_job(one_store)
    job.create_topics()
    job.create_topics()
    for topic in (job.source, job.alerts, job.dead):
        assert len(topics.partitions(topic)) == 3, topic


def test_a_second_run_finds_nothing_to_do_and_changes_nothing(make_job, topics, one_store):
    job = make_job(one_store)
    job.create_topics()
    job.generate("--rate", "max", "--count", 20_000, *MIX)
    job.run_until_caught_up()
    before = one_store.parquet(job.curated), topics.ends(job.dead)
    alerts = job.read_alerts()

    report = job.run_until_caught_up(timeout=60)

    assert (one_store.parquet(job.curated), topics.ends(job.dead)) == before
    assert job.read_alerts() == alerts
    job.verify(report)
