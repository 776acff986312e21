"""Kafka as a plain client sees it: make topics, write records, read everything that is committed."""

import time

from confluent_kafka import Consumer, IsolationLevel, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType
from model import Record

READ_TIMEOUT = 60.0
LARGEST_MESSAGE = 32 * 1024 * 1024


class Topics:
    """A connection to one cluster."""

    def __init__(self, brokers):
        self.brokers = brokers
        self.admin = AdminClient({"bootstrap.servers": brokers})

    def create(self, topic, partitions=3, **config):
        settings = {k.replace("_", "."): str(v) for k, v in config.items()}
        for future in self.admin.create_topics([NewTopic(topic, partitions, 1, config=settings)]).values():
            future.result()
        self.wait_until_there(topic, partitions)

    def wait_until_there(self, topic, partitions):
        """A broker may answer that a topic was made before it can be asked about it."""
        deadline = time.monotonic() + READ_TIMEOUT
        while True:
            try:
                if len(self.partitions(topic)) == partitions:
                    return
            except LookupError:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic} was made and cannot be seen within {READ_TIMEOUT} s")
            time.sleep(0.05)

    def config(self, topic):
        resource = ConfigResource(ResourceType.TOPIC, topic)
        return {name: entry.value for name, entry in self.admin.describe_configs([resource])[resource].result().items()}

    def partitions(self, topic):
        metadata = self.admin.list_topics(topic, timeout=10).topics.get(topic)
        if metadata is None or metadata.error:
            raise LookupError(f"topic {topic} does not exist")
        return sorted(metadata.partitions)

    def ends(self, topic, isolation=IsolationLevel.READ_UNCOMMITTED):
        """The next offset of each partition; by READ_COMMITTED, that of the oldest open transaction."""
        asked = {TopicPartition(topic, p): OffsetSpec.latest() for p in self.partitions(topic)}
        answers = self.admin.list_offsets(asked, isolation_level=isolation)
        return {tp.partition: future.result().offset for tp, future in answers.items()}

    def dangling(self, topic):
        """Partitions that a transaction without an end hides from read_committed consumers."""
        committed = self.ends(topic, IsolationLevel.READ_COMMITTED)
        return {p: (committed[p], end) for p, end in self.ends(topic).items() if committed[p] != end}

    def write(self, topic, records):
        """Writes (key, value, partition) triples and waits until the cluster has them."""
        producer = Producer(
            {"bootstrap.servers": self.brokers, "message.max.bytes": LARGEST_MESSAGE, "linger.ms": 20, "acks": "all"}
        )
        failures = []
        for key, value, partition in records:
            producer.produce(
                topic, value, key, partition, on_delivery=lambda error, _: failures.append(error) if error else None
            )
            producer.poll(0)
        producer.flush()
        if failures:
            raise RuntimeError(f"{len(failures)} records were not written: {failures[0]}")

    def read(self, topic, headers=False):
        """Every committed record that stands in the topic now, in offset order per partition."""
        ends = self.ends(topic)
        consumer = Consumer(
            {
                "bootstrap.servers": self.brokers,
                "group.id": "unused",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "message.max.bytes": LARGEST_MESSAGE,
                "fetch.message.max.bytes": 4 * 1024 * 1024,
                "check.crcs": True,
            }
        )
        consumer.assign([TopicPartition(topic, p, 0) for p in ends])
        open_partitions = set(ends)
        try:
            deadline = time.monotonic() + READ_TIMEOUT
            while open_partitions:
                # It waits until the batch is full or this time is over, whichever comes first.
                batch = consumer.consume(10_000, 0.1)
                if batch:
                    deadline = time.monotonic() + READ_TIMEOUT
                elif time.monotonic() > deadline:
                    raise TimeoutError(f"no record of {topic} within {READ_TIMEOUT} s; open: {open_partitions}")
                for message in batch:
                    error = message.error()
                    if error is None:
                        found = message.headers() or [] if headers else None
                        yield Record(
                            message.partition(),
                            message.offset(),
                            message.timestamp()[1],
                            message.key(),
                            message.value(),
                            found,
                        )
                    elif error.code() == KafkaError._PARTITION_EOF:
                        open_partitions.discard(message.partition())
                    else:
                        raise RuntimeError(f"reading {topic}: {error}")
        finally:
            consumer.close()
