"""kafka-python: a client that shares no code with librdkafka or with Java's."""

import time

import pytest
from clients import create, read, unique, values
from kafka import ConsumerGroupMetadata, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition


def consume(brokers, topics, count, **config):
    """Reads until `count` records are there; fails if they do not come."""
    settings = {"bootstrap_servers": brokers, "auto_offset_reset": "earliest", "enable_auto_commit": False}
    consumer = KafkaConsumer(*topics, **(settings | config))
    rows = []
    deadline = time.monotonic() + 30
    try:
        while len(rows) < count:
            assert time.monotonic() < deadline, f"{len(rows)} of {count} records"
            for records in consumer.poll(timeout_ms=200).values():
                rows += records
        if config.get("group_id"):
            consumer.commit()
    finally:
        consumer.close()
    return rows


@pytest.mark.parametrize("codec", [None, "gzip"])
def test_what_is_produced_is_consumed(brokers, codec):
    topic = unique("py")
    create(brokers, topic, 1)
    producer = KafkaProducer(bootstrap_servers=brokers, acks="all", compression_type=codec)
    for n in range(500):
        producer.send(topic, key=b"k%d" % n, value=b"v%d" % n, headers=[("h", b"%d" % n)], partition=0)
    producer.flush(30)
    producer.close()
    rows = consume(brokers, [topic], 500)
    found = [(r.offset, r.key, r.value, list(r.headers)) for r in rows]
    assert found == [(n, b"k%d" % n, b"v%d" % n, [("h", b"%d" % n)]) for n in range(500)]


def test_a_group_goes_on_where_it_committed(brokers):
    topic, group = unique("py"), unique("py")
    create(brokers, topic, 2)
    producer = KafkaProducer(bootstrap_servers=brokers)
    for n in range(20):
        producer.send(topic, value=b"%d" % n, partition=n % 2)
    producer.flush(30)
    assert len(consume(brokers, [topic], 20, group_id=group)) == 20
    producer.send(topic, value=b"new", partition=0)
    producer.close()
    assert [r.value for r in consume(brokers, [topic], 1, group_id=group)] == [b"new"]


def test_transactions_commit_and_abort_with_their_offsets(brokers):
    topic, group = unique("py"), unique("py")
    create(brokers, topic, 1)
    producer = KafkaProducer(bootstrap_servers=brokers, transactional_id=unique("py"))
    producer.init_transactions()
    place = TopicPartition(topic, 0)
    for value, commit in [(b"a", True), (b"b", False), (b"c", True)]:
        producer.begin_transaction()
        producer.send(topic, value=value, partition=0)
        offset = OffsetAndMetadata(value[0], "", -1)
        producer.send_offsets_to_transaction({place: offset}, ConsumerGroupMetadata(group, -1, "", None))
        if commit:
            producer.commit_transaction()
        else:
            producer.flush(30)
            producer.abort_transaction()
    producer.close()
    rows = consume(brokers, [topic], 2, isolation_level="read_committed")
    assert [r.value for r in rows] == [b"a", b"c"]
    assert values(read(brokers, topic, 1)) == ["a", "c"]
    consumer = KafkaConsumer(bootstrap_servers=brokers, group_id=group)
    assert consumer.committed(place) == ord("c")
    consumer.close()
