"""A Kafka broker that stops, loses topics, gains partitions or has no room."""

import os
import signal
import time

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions
from faulty_job import OUTAGE_SECONDS
from topics import Topics
from waiting import wait_until

# The producers' transaction.timeout.ms and what the broker takes to notice.
TRANSACTION_SECONDS = 60 + 30

# So that a transaction is open most of the time.
LONG_TRANSACTIONS = {'key = "device_id"': 'key = "device_id"\ncommit_interval = "1 second"'}


@pytest.mark.ci
def test_a_broker_that_stops_and_comes_back_is_waited_for(make_job, servers, local_store):
    job = make_job(local_store)
    job.create_topics()
    with job.load():
        run = job.start()
        job.wait_for_epochs(run, 3)
        servers.stop("kafka")
        time.sleep(OUTAGE_SECONDS)
        servers.start("kafka")
        wait_until("the source answers again", lambda: job.positions() != {}, run=run)
    assert "source does not answer" in run.output(), "nobody noticed that the broker was away"
    wait_until("the log says that it is back", lambda: "source answers again" in run.output(), run=run)
    job.goes_on_by_itself(run)


def test_a_broker_that_loses_power_and_comes_back_is_waited_for(make_job, servers, local_store):
    """With it dies the transaction coordinator, in the middle of transactions."""
    job = make_job(local_store, **LONG_TRANSACTIONS)
    job.create_topics()
    with job.load():
        run = job.start()
        job.wait_for_epochs(run, 3)
        wait_until("a transaction is open", lambda: job.topics.dangling(job.alerts), run=run)
        servers.kill("kafka")
        servers.start("kafka")
    job.goes_on_by_itself(run)


@pytest.mark.long
def test_a_transaction_that_times_out_while_the_process_is_paused_is_sent_again(make_job, local_store):
    job = make_job(local_store, **LONG_TRANSACTIONS)
    job.create_topics()
    with job.load(seconds=15):
        run = job.start()
        job.wait_for_epochs(run, 3)
        wait_until("a transaction is open", lambda: job.topics.dangling(job.alerts), run=run)
        os.kill(run.process.pid, signal.SIGSTOP)
    # Between the look and the stop the transaction may have ended; the next one begins with the next
    # alert, so a run that is stopped without one is let go on to it.
    while not job.topics.dangling(job.alerts):
        os.kill(run.process.pid, signal.SIGCONT)
        wait_until("a transaction is open", lambda: job.topics.dangling(job.alerts), run=run)
        os.kill(run.process.pid, signal.SIGSTOP)
    wait_until("the broker gives up", lambda: not job.topics.dangling(job.alerts), TRANSACTION_SECONDS)
    os.kill(run.process.pid, signal.SIGCONT)
    wait_until("it has begun anew", lambda: run.output().count("resuming") > 0, run=run)
    assert "no other instance has taken over" in run.output()
    job.goes_on_by_itself(run)


@pytest.mark.ci
def test_partitions_that_a_topic_gains_are_read_from_their_beginning(make_job, topics, local_store):
    job = make_job(local_store)
    job.create_topics()
    with job.load(seconds=10):
        run = job.start()
        job.wait_for_epochs(run, 2)
    for future in topics.admin.create_partitions([NewPartitions(job.source, 5)]).values():
        future.result()
    wait_until("the partitions are there", lambda: len(topics.partitions(job.source)) == 5)
    # Of later event times: windows of the first ten seconds have fired.
    value = b'{"device_id":"MTR-1","ts":"2025-08-17T13:00:%02dZ","temperature_c":99.0}'
    topics.write(job.source, ((None, value % second, 3 + second % 2) for second in range(60)))
    model = job.goes_on_by_itself(run)
    assert len(model.next_offset) == 5, "the new partitions got nothing"


def test_a_topic_that_is_deleted_ends_the_run_with_its_name(make_job, topics, local_store):
    job = make_job(local_store)
    job.create_topics()
    job.fill()
    run = job.start()
    job.wait_until_read(run)
    delete(topics, job.source)
    job.stops_saying(run, job.source, "topics create")
    # What was shown stays as it is; there is no topic left to compare it with.
    done = job.command("run", job.file, "--until-caught-up", check=1)
    assert job.source in done.stderr


@pytest.mark.ci
@pytest.mark.parametrize("alerts_go", ["to the same cluster", "to another cluster"])
def test_a_topic_made_anew_and_shorter_is_refused_and_read_from_its_beginning_if_the_file_says_so(
    make_job, topics, embedded_broker, local_store, alerts_go
):
    """Kafka forgets a group's offsets in a topic that is deleted. What stands in another cluster about
    the old records stays, and must not hide the new ones."""
    sink, brokers = topics, {}
    if alerts_go == "to another cluster":
        sink = Topics(embedded_broker())
        brokers = {'key = "device_id"': f'key = "device_id"\nbrokers = "{sink.brokers}"'}
    job = make_job(local_store, **brokers)

    def shown():
        return sum(1 for _ in sink.read(job.alerts)), len(local_store.parquet(job.curated))

    job.create_topics()
    job.fill()
    job.run_until_caught_up()
    before = shown()
    assert all(before)
    delete(topics, job.source)
    topics.create(job.source, 3)
    job.generate("--devices", 50, "--rate", "max", "--count", 1_000, "--anomalies", "0.5", "--start", "2026-01-01")
    anew = job.model().alerts.total()
    assert anew > 100

    refused = job.command("run", job.file, "--until-caught-up", check=1)
    for word in ("next offset", "made anew", 'on_lost_position = "earliest"'):
        assert word in refused.stderr, refused.stderr
    assert shown() == before

    job.write_file(**{'start = "earliest"': 'start = "earliest"\non_lost_position = "earliest"'})
    job.run_until_caught_up()
    assert shown()[0] == before[0] + anew
    # Once more: now the checkpoint's offsets are within the topic, and the cursor is a good one.
    job.run_until_caught_up()
    assert shown()[0] == before[0] + anew
    job.generate("--devices", 50, "--rate", "max", "--count", 1_000, "--anomalies", "0.5", "--start", "2026-02-01")
    job.run_until_caught_up()
    assert shown()[0] == before[0] + job.model().alerts.total()


def delete(topics, topic):
    for future in topics.admin.delete_topics([topic]).values():
        future.result()

    def is_gone():
        return topic not in topics.admin.list_topics(timeout=10).topics

    wait_until(f"{topic} is gone", is_gone)


def fill_up(brokers, topic):
    """Until the broker takes nothing more, however small."""
    producer = Producer({"bootstrap.servers": brokers, "message.timeout.ms": 3000, "linger.ms": 0})
    refused = []
    for size in (500_000, 50_000, 5_000, 500, 50):
        refused.clear()
        while not refused:
            producer.produce(topic, os.urandom(size), on_delivery=lambda error, _: error and refused.append(error))
            producer.flush()


@pytest.mark.long
def test_a_broker_without_room_ends_the_run_and_with_room_it_goes_on(make_job, embedded_broker, local_store):
    """The embedded broker, whose room is its memory."""
    job = make_job(local_store)
    job.topics = Topics(embedded_broker("--memory-limit", "32MiB"))
    job.env["KAFKA_BROKERS"] = job.topics.brokers
    job.create_topics()
    job.fill()
    job.topics.create("filler", 1)
    fill_up(job.topics.brokers, "filler")
    run = job.start("--until-caught-up", "--close-windows")
    # Whichever output is first to use up its two minutes.
    job.stops_saying(run, job.name, timeout=400)
    delete(job.topics, "filler")
    job.ends_exactly()


@pytest.mark.ci
def test_an_alert_that_its_topic_does_not_take_becomes_a_dead_letter_with_the_reason(
    make_job, topics, local_store
):
    job = make_job(local_store)
    topics.create(job.alerts, 3, max_message_bytes=10_000)
    job.create_topics()
    small = b'{"device_id":"%s","ts":"2025-08-17T12:00:%02dZ","temperature_c":99.0,"site":"%s"}'
    values = [small % (b"MTR-1", second, b"s") for second in range(30)]
    values[7] = small % (b"MTR-1", 7, b"x" * 20_000)
    topics.write(job.source, ((None, value, 0) for value in values))
    for _ in range(2):
        report = job.run_until_caught_up()
        assert report["outputs"]["alerts"]["rows"] == 29
        assert report["outputs"]["alerts"]["refused"] == 1
        assert len(job.read_alerts()) == 29
        letters = job.read_dead_letters()
        assert len(letters) == 1
        headers = dict(letters[0].headers)
        assert headers["floodmark.offset"] == b"7"
        assert b"alerts" in headers["floodmark.reason"] and b"10000" in headers["floodmark.reason"]
        assert b"x" * 5_000 in letters[0].value
