"""Kafka UI with the variables of the compose file, where its jar is given: it shows Kafka and changes nothing."""

import json
import urllib.error
import urllib.request

import pytest
from confluent_kafka import Producer
from stack import eventually, get
from topics import Topics

CLUSTER = "/api/clusters/floodmark"


@pytest.fixture(scope="module")
def kafka_ui(stack):
    """Its answers by path."""
    if "KAFKA_UI_URL" not in stack.variables:
        pytest.skip("the jar of Kafka UI is not given: FLOODMARK_KAFKA_UI_JAR")

    def ask(path):
        status, body = get(stack.url("kafka_ui") + path)
        assert status == 200, body
        return body

    return ask


def messages(kafka_ui, topic):
    """The first ones of a topic, which come as server-sent events."""
    stream = kafka_ui(f"{CLUSTER}/topics/{topic}/messages/v2?mode=EARLIEST&limit=20&keySerde=String&valueSerde=String")
    events = [json.loads(line.removeprefix("data:")) for line in stream.splitlines() if line.startswith("data:")]
    return [event["message"] for event in events if event["type"] == "MESSAGE"]


def test_it_shows_the_cluster(kafka_ui):
    def online():
        clusters = json.loads(kafka_ui("/api/clusters"))
        return clusters if [cluster["status"] for cluster in clusters] == ["ONLINE"] else None

    (cluster,) = eventually("the cluster is online", online)
    assert (cluster["name"], cluster["brokerCount"], cluster["readOnly"]) == ("floodmark", 1, True)


def test_it_shows_the_topics_of_the_pipeline(kafka_ui):
    # It looks at them every half minute.
    def topics():
        found = json.loads(kafka_ui(f"{CLUSTER}/topics?perPage=100"))["topics"]
        partitions = {topic["name"]: topic["partitionCount"] for topic in found if not topic["internal"]}
        return partitions if {"sensor_events", "sensor_alerts", "sensor_events_dead"} <= partitions.keys() else None

    partitions = eventually("the topics are there", topics)
    assert [partitions[topic] for topic in ("sensor_events", "sensor_alerts", "sensor_events_dead")] == [3, 3, 3]


@pytest.mark.parametrize("topic", ["sensor_events", "sensor_alerts"])
def test_it_shows_messages(kafka_ui, topic):
    found = eventually(f"there are messages in {topic}", lambda: messages(kafka_ui, topic))
    values = [json.loads(message["value"]) for message in found if message["value"].startswith("{")]
    assert values and all("device_id" in value for value in values)


def test_it_does_not_show_what_was_aborted(kafka_ui, stack):
    brokers = stack.variables["KAFKA_BROKERS"]
    topic = "kafka_ui_transactions"
    Topics(brokers).create(topic, partitions=1)
    producer = Producer({"bootstrap.servers": brokers, "transactional.id": topic})
    producer.init_transactions()
    for value, end in (
        ("first", producer.commit_transaction),
        ("aborted", producer.abort_transaction),
        ("last", producer.commit_transaction),
    ):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush()
        end()

    def shown():
        values = [message["value"] for message in messages(kafka_ui, topic)]
        return values if "last" in values else None

    assert eventually("the last one is shown", shown) == ["first", "last"]


def test_it_makes_no_topic(kafka_ui, stack):
    body = json.dumps({"name": "unwanted", "partitions": 1, "replicationFactor": 1}).encode()
    request = urllib.request.Request(
        f"{stack.url('kafka_ui')}{CLUSTER}/topics", body, {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value as answer:
        assert (answer.code, json.load(answer)["message"]) == (405, "This cluster is in read-only mode.")
    with pytest.raises(LookupError):
        Topics(stack.variables["KAFKA_BROKERS"]).partitions("unwanted")
