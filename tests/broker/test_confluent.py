"""confluent-kafka, Python's most used client."""

import pytest
from clients import PATIENCE, create, eventually, read, transactional, unique, values, write
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)


@pytest.fixture(scope="module")
def admin(brokers):
    return AdminClient({"bootstrap.servers": brokers})


def result(futures):
    (future,) = futures.values() if isinstance(futures, dict) else (futures,)
    return future.result(PATIENCE)


def test_topics_are_made_described_grown_and_deleted(admin):
    topic = unique("admin")
    result(admin.create_topics([NewTopic(topic, 2, 1, config={"retention.ms": "3600000"})]))
    with pytest.raises(KafkaException, match="already exists"):
        result(admin.create_topics([NewTopic(topic, 2, 1)]))
    eventually("the topic", lambda: topic in admin.list_topics(timeout=10).topics)
    result(admin.create_partitions([NewPartitions(topic, 3)]))
    eventually("its partitions", lambda: len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 3)
    result(admin.delete_topics([topic], operation_timeout=10))
    eventually("its end", lambda: topic not in admin.list_topics(timeout=10).topics)
    cluster = result(admin.describe_cluster())
    assert cluster.cluster_id
    assert len(cluster.nodes) == 1


def test_configurations_are_described_and_altered(admin, brokers):
    topic = unique("admin")
    create(brokers, topic, 1)
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entry = ConfigEntry("retention.ms", "7200000", incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    result(admin.incremental_alter_configs([change]))

    def retention():
        return result(admin.describe_configs([resource]))["retention.ms"].value == "7200000"

    eventually("the configuration", retention)


def test_offsets_groups_and_records_are_administered(admin, brokers):
    topic, group = unique("admin"), unique("admin")
    create(brokers, topic, 1)
    write(brokers, topic, ["a", "b", "c", "d"])
    asked = {TopicPartition(topic, 0): OffsetSpec.latest()}
    assert result(admin.list_offsets(asked)).offset == 4
    result(admin.delete_records([TopicPartition(topic, 0, 2)]))
    asked = {TopicPartition(topic, 0): OffsetSpec.earliest()}
    assert result(admin.list_offsets(asked)).offset == 2

    committed = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 3)])
    result(admin.alter_consumer_group_offsets([committed]))
    found = result(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
    assert [p.offset for p in found.topic_partitions] == [3]
    assert group in [g.group_id for g in result(admin.list_consumer_groups()).valid]
    assert result(admin.describe_consumer_groups([group])).state.name == "EMPTY"
    result(admin.delete_consumer_groups([group]))
    assert group not in [g.group_id for g in result(admin.list_consumer_groups()).valid]


def member(brokers, group, strategy):
    return Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "partition.assignment.strategy": strategy,
        }
    )


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_two_members_share_a_topic_and_read_it_once(brokers, strategy):
    topic, group = unique("share"), unique("share")
    create(brokers, topic, 4)
    one, two = (member(brokers, group, strategy) for _ in range(2))
    seen = []

    def share(*sizes):
        for consumer in (one, two)[: len(sizes)]:
            message = consumer.poll(0.02)
            if message and not message.error():
                seen.append(message.value())
        return tuple(len(c.assignment()) for c in (one, two)[: len(sizes)]) == sizes

    one.subscribe([topic])
    eventually("all partitions", lambda: share(4))
    two.subscribe([topic])
    eventually("half of them each", lambda: share(2, 2))
    parts = {p.partition for c in (one, two) for p in c.assignment()}
    assert parts == {0, 1, 2, 3}
    for partition in range(4):
        write(brokers, topic, [f"{partition}-{n}" for n in range(25)], partition)
    eventually("all records", lambda: share(2, 2) and len(seen) >= 100)
    assert len(set(seen)) == 100 == len(seen)
    one.close()
    eventually("the other takes over", lambda: two.poll(0.02) or len(two.assignment()) == 4)
    two.close()


def test_a_pipeline_reads_processes_and_writes_exactly_once(brokers):
    source, target, group = unique("source"), unique("target"), unique("pipeline")
    create(brokers, source, 2)
    create(brokers, target, 2)
    for partition in range(2):
        write(brokers, source, [str(n) for n in range(partition, 200, 2)], partition)
    name = unique("pipeline")
    done = 0
    # Each round takes over from one that was left in the midst of a transaction.
    for rounds in range(8):
        producer = transactional(brokers, name)
        consumer = member(brokers, group, "cooperative-sticky")
        consumer.subscribe([source])
        for batch in range(4):
            messages = eventually("records", lambda: consumer.consume(10, 0.5)) if done < 200 else []
            if not messages:
                break
            producer.begin_transaction()
            for message in messages:
                assert not message.error(), message.error()
                producer.produce(target, f"done {message.value().decode()}", partition=message.partition())
            if rounds < 7 and batch == 3:
                producer.flush(PATIENCE)
                break
            at = consumer.position(consumer.assignment())
            producer.send_offsets_to_transaction(at, consumer.consumer_group_metadata(), PATIENCE)
            producer.commit_transaction(PATIENCE)
            done += len(messages)
        consumer.close()
        del producer
    assert done == 200
    eventually("all of it", lambda: len(read(brokers, target, 2)) == 200)
    found = values(read(brokers, target, 2))
    assert sorted(found) == sorted(f"done {n}" for n in range(200))


def test_a_second_producer_of_an_id_shuts_out_the_first(brokers):
    topic, name = unique("fenced"), unique("fenced")
    create(brokers, topic, 1)
    first = transactional(brokers, name)
    first.begin_transaction()
    first.produce(topic, "first", partition=0)
    assert first.flush(PATIENCE) == 0
    second = transactional(brokers, name)
    with pytest.raises(KafkaException) as caught:
        first.commit_transaction(PATIENCE)
    assert caught.value.args[0].fatal()
    second.begin_transaction()
    second.produce(topic, "second", partition=0)
    second.commit_transaction(PATIENCE)
    eventually("the record", lambda: values(read(brokers, topic, 1)) == ["second"])
