"""What the tests share of confluent-kafka: names, topics, records in and out, waits."""

import time
import uuid

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE = 30.0


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def eventually(what, look):
    """Looks until there is something to see."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        time.sleep(0.02)


def create(brokers, topic, partitions, **config):
    admin = AdminClient({"bootstrap.servers": brokers})
    settings = {name.replace("_", "."): str(value) for name, value in config.items()}
    admin.create_topics([NewTopic(topic, partitions, 1, config=settings)])[topic].result(PATIENCE)
    eventually("the topic", lambda: len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == partitions)


def write(brokers, topic, values, partition=0, **config):
    producer = Producer({"bootstrap.servers": brokers, **{k.replace("_", "."): v for k, v in config.items()}})
    failures = []
    for value in values:
        producer.produce(topic, value, partition=partition, on_delivery=lambda e, _: e and failures.append(e))
    assert producer.flush(PATIENCE) == 0
    assert not failures, failures


def transactional(brokers, name, **config):
    settings = {k.replace("_", "."): v for k, v in config.items()}
    producer = Producer({"bootstrap.servers": brokers, "transactional.id": name, **settings})
    producer.init_transactions(PATIENCE)
    return producer


def read(brokers, topic, partitions, isolation="read_committed", patience=PATIENCE):
    """(partition, offset, key, value) of all that stands in the topic now, in order per partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": unique("reader"),
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "check.crcs": True,
        }
    )
    consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    rows, still = [], set(range(partitions))
    deadline = time.monotonic() + patience
    try:
        while still:
            assert time.monotonic() < deadline, f"{topic}: {still} do not end"
            for message in consumer.consume(10_000, 0.1):
                error = message.error()
                if error is None:
                    rows.append((message.partition(), message.offset(), message.key(), message.value()))
                elif error.code() == KafkaError._PARTITION_EOF:
                    still.discard(message.partition())
                else:
                    raise AssertionError(f"reading {topic}: {error}")
    finally:
        consumer.close()
    return rows


def values(rows):
    return [value.decode() for _, _, _, value in rows]
